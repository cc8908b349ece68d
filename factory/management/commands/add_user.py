"""`manage.py add_user NAME --project SLUG --role ROLE`: a person and what they may do."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from factory.management.arguments import add_project, ask_secret, errors_told, project_named
from factory.models import Membership
from factory.services.projects import add_member, create_user


class Command(BaseCommand):
    help = "Give a person a role in a project; asks for a password where the person is new."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        add_project(parser, may_create=True)
        parser.add_argument("--role", choices=Membership.Role.values, default="reviewer")

    def handle(
        self, *_args: Any, name: str, project: str, create: bool, role: str, **_options: Any
    ) -> None:
        with errors_told(), transaction.atomic():
            target = project_named(project, create=create)
            user = User.objects.filter(username=name).first()
            user = user or create_user(username=name, password=ask_secret(f"Password for {name}"))
            add_member(target, user, role)
        self.stdout.write(f"{name} is {role} in {project}")
