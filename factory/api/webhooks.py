"""The JSON API of webhooks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Schema

from factory.api.base import project_of
from factory.selectors import deliveries_of, delivery_of_project, webhook_of_project, webhooks_of
from factory.services import webhooks

router = Router(tags=["webhooks"])


class WebhookIn(Schema):
    """An address, and the events that it is told of."""

    url: str
    events: list[str]


class WebhookOut(Schema):
    """An address that is told of events."""

    id: int
    url: str
    events: list[str]
    is_active: bool


class NewWebhookOut(WebhookOut):
    """A new one, with the secret that signs its messages: it is given this once."""

    secret: str


class DeliveryOut(Schema):
    """One event to one address."""

    id: UUID
    event: str
    data: dict[str, Any]
    status: str
    attempts: int
    response_status: int | None
    error: str
    created_at: datetime
    delivered_at: datetime | None


@router.get("/webhooks", response=list[WebhookOut])
def get_webhooks(request: HttpRequest) -> Any:
    """List the addresses that are told of events."""
    return webhooks_of(project_of(request))


@router.post("/webhooks", response=NewWebhookOut)
def post_webhook(request: HttpRequest, body: WebhookIn) -> dict[str, Any]:
    """Tell an address of events."""
    made, secret = webhooks.add_webhook(project_of(request), **body.dict())
    shown = {name: getattr(made, name) for name in WebhookOut.model_fields}
    return {**shown, "secret": secret}


@router.delete("/webhooks/{webhook}", response={204: None})
def delete_webhook(request: HttpRequest, webhook: int) -> tuple[int, None]:
    """Tell an address nothing more."""
    webhooks.remove_webhook(webhook_of_project(project_of(request), webhook))
    return 204, None


@router.post("/webhooks/{webhook}/ping", response=DeliveryOut)
def post_ping(request: HttpRequest, webhook: int) -> Any:
    """Send an event that tells of nothing."""
    return webhooks.ping(webhook_of_project(project_of(request), webhook))


@router.get("/webhooks/{webhook}/deliveries", response=list[DeliveryOut])
def get_deliveries(request: HttpRequest, webhook: int) -> Any:
    """List the newest deliveries to an address."""
    return deliveries_of(webhook_of_project(project_of(request), webhook))


@router.post("/deliveries/{delivery}/again", response=DeliveryOut)
def post_again(request: HttpRequest, delivery: UUID) -> Any:
    """Try a delivery anew."""
    found = delivery_of_project(project_of(request), delivery)
    webhooks.send_again(found)
    found.refresh_from_db()
    return found
