"""Pages of webhooks: an owner's, for they carry what happens out of the house."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from factory.decorators import signed_in
from factory.forms import WebhookForm, errors_in
from factory.models import Membership
from factory.selectors import (
    deliveries_of,
    delivery_of_project,
    project_for_user,
    webhook_of_project,
)
from factory.services import webhooks
from factory.views.pages import form_page

Role = Membership.Role


@never_cache
@signed_in("GET", "POST")
def new_webhook(request: HttpRequest, project: str) -> HttpResponse:
    """Tell an address of events, and show the secret that it knows us by, this once."""
    found = project_for_user(request.user, project, Role.OWNER)
    form = WebhookForm(request.POST or None)
    if form.is_valid():
        with errors_in(form):
            made, secret = webhooks.add_webhook(found, **form.cleaned_data)
            shown = {"project": found, "webhook": made, "raw": secret}
            return render(request, "factory/webhook_secret.html", shown)
    return form_page(request, form, title="New webhook", button="Make it", project=found)


@signed_in("GET")
def webhook(request: HttpRequest, project: str, webhook: int) -> HttpResponse:
    """Show what an address was told, and whether it heard."""
    found = project_for_user(request.user, project, Role.OWNER)
    one = webhook_of_project(found, webhook)
    shown = {"project": found, "webhook": one, "deliveries": deliveries_of(one)}
    return render(request, "factory/webhook.html", shown)


@signed_in("POST")
def ping_webhook(request: HttpRequest, project: str, webhook: int) -> HttpResponse:
    """Send an event that tells of nothing."""
    found = project_for_user(request.user, project, Role.OWNER)
    webhooks.ping(webhook_of_project(found, webhook))
    messages.success(request, "On its way: this page shows what came of it.")
    return redirect("webhook", project, webhook)


@signed_in("POST")
def remove_webhook(request: HttpRequest, project: str, webhook: int) -> HttpResponse:
    """Tell an address nothing more."""
    found = project_for_user(request.user, project, Role.OWNER)
    webhooks.remove_webhook(webhook_of_project(found, webhook))
    return redirect("project", project)


@signed_in("POST")
def send_again(request: HttpRequest, project: str, delivery: UUID) -> HttpResponse:
    """Try a delivery anew."""
    found = project_for_user(request.user, project, Role.OWNER)
    one = delivery_of_project(found, delivery)
    webhooks.send_again(one)
    return redirect("webhook", project, one.webhook_id)
