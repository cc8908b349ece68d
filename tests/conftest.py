"""The cast: Alice owns the project, Bob reviews in it, Carol is the stranger."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import hypothesis
import pytest
from django.contrib.auth.models import User

from factory.dedupe import group_key, input_digest
from factory.messages import CallRecord
from factory.models import CapturedCall, Example, Membership, Project, Workload
from factory.services.capture import record_calls
from factory.services.projects import add_member, create_project, create_workload

# A busy machine is slow, and what once failed is not remembered in the checkout.
hypothesis.settings.register_profile("house", deadline=None, database=None)
hypothesis.settings.load_profile("house")

PASSWORD = "correct horse battery staple"
LABELS = ["billing", "delivery", "login"]
INSTRUCTION = "Route the ticket. Answer with one of: billing, delivery, login."


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Hash with something weak: scrypt is slow by design, which no test here is about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def make_user(name: str) -> User:
    return User.objects.create_user(name, f"{name}@example.org", PASSWORD)


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def carol(db: None) -> User:
    return make_user("carol")


@pytest.fixture
def project(alice: User, bob: User) -> Project:
    made = create_project(slug="acme", name="Acme", owner=alice)
    add_member(made, bob, Membership.Role.REVIEWER)
    return made


@pytest.fixture
def workload(project: Project) -> Workload:
    return create_workload(
        project,
        slug="tickets",
        kind=Workload.Kind.CLASSIFICATION,
        instruction=INSTRUCTION,
        output_schema={"type": "string", "enum": LABELS},
    )


def ticket_messages(text: str, instruction: str = INSTRUCTION) -> list[dict[str, Any]]:
    return [{"role": "system", "content": instruction}, {"role": "user", "content": text}]


def call_record(
    text: str, answer: str = "billing", *, request_id: str = "", minutes: int = 0, **fields: Any
) -> CallRecord:
    return CallRecord(
        request_id=request_id or f"req-{text}",
        created_at=datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=minutes),
        request={"model": "gpt-4o", "temperature": 0, "messages": ticket_messages(text)},
        response={
            "model": "gpt-4o-2024-08-06",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 40, "completion_tokens": 2},
        },
        status_code=200,
        latency_ms=420,
        **fields,
    )


class MakeCall(Protocol):
    def __call__(self, text: str, answer: str = ..., **fields: Any) -> CapturedCall: ...


class MakeExample(Protocol):
    def __call__(self, text: str, target: str | None = ..., **fields: Any) -> Example: ...


@pytest.fixture
def make_call(project: Project) -> MakeCall:
    def make(text: str, answer: str = "billing", **fields: Any) -> CapturedCall:
        record = call_record(text, answer, **fields)
        record_calls(project, [record], CapturedCall.Source.IMPORT)
        return CapturedCall.objects.get(project=project, request_id=record.request_id)

    return make


@pytest.fixture
def make_example(workload: Workload) -> MakeExample:
    def make(text: str, target: str | None = "billing", **fields: Any) -> Example:
        messages = ticket_messages(text)
        values: dict[str, Any] = {
            "workload": workload,
            "origin": Example.Origin.REQUEST_LOG,
            "messages": messages,
            "target": target,
            "provenance": "teacher" if target is not None else "",
            "digest": input_digest(messages),
            "group": group_key(messages),
            "split": "train",
        }
        return Example.objects.create(**{**values, **fields})

    return make


@pytest.fixture
def on_commit_runs(django_capture_on_commit_callbacks: Any) -> Callable[[], Any]:
    """Give a context in which what waits for the commit is run at its end."""
    return lambda: django_capture_on_commit_callbacks(execute=True)
