"""Webhooks: signed, told once they are true, sent until they are heard, and to nobody else."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from standardwebhooks.webhooks import Webhook as Library
from standardwebhooks.webhooks import WebhookVerificationError

from factory.errors import InvalidInput
from factory.models import Delivery, Project, Webhook
from factory.services.keys import create_key
from factory.services.webhooks import (
    add_webhook,
    ping,
    prune_deliveries,
    send_again,
    send_due,
    tell,
)
from factory.webhooks import BACKOFF, EVENTS, body_of, new_secret, signed_headers, wait_after

pytestmark = pytest.mark.django_db(transaction=True)


class Receiver(ThreadingHTTPServer):
    """Somebody's server: keeps what it is sent, answers with the next of its statuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.had: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/in"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        server.had.append(({k.lower(): v for k, v in self.headers.items()}, body))
        status = server.statuses.pop(0) if server.statuses else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{server.url}/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hook(project: Project, receiver: Receiver) -> tuple[Webhook, str]:
    return add_webhook(project, url=receiver.url, events=list(EVENTS))


def test_the_specifications_own_library_knows_our_messages(
    project: Project, receiver: Receiver, hook: tuple[Webhook, str]
) -> None:
    tell(project.pk, "alias.moved", {"workload": "tickets", "to": 2})
    assert send_due() == 1
    [(headers, body)] = receiver.had
    said = Library(hook[1]).verify(body, headers)
    assert said["type"] == "alias.moved"
    assert said["data"] == {"workload": "tickets", "to": 2}
    assert Delivery.objects.get().status == "delivered"
    with pytest.raises(WebhookVerificationError):
        Library(new_secret()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Library(hook[1]).verify(body + b" ", headers)


def test_an_event_is_told_only_if_what_it_tells_of_is_committed(
    project: Project, hook: tuple[Webhook, str]
) -> None:
    @transaction.atomic
    def move_and_break() -> None:
        tell(project.pk, "alias.moved", {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        move_and_break()
    assert not Delivery.objects.exists()


def test_only_who_asked_is_told(
    project: Project, receiver: Receiver, hook: tuple[Webhook, str]
) -> None:
    other = Project.objects.create(slug="other", name="Other")
    add_webhook(other, url=receiver.url, events=list(EVENTS))
    add_webhook(project, url=receiver.url, events=["version.published"])
    tell(project.pk, "alias.moved", {})
    assert list(Delivery.objects.values_list("webhook", flat=True)) == [hook[0].pk]


def test_what_is_not_heard_is_sent_again_under_the_same_name(
    receiver: Receiver, hook: tuple[Webhook, str]
) -> None:
    receiver.statuses = [500, 302, 200]
    delivery = ping(hook[0])
    for attempt in range(1, 4):
        assert send_due() == 1
        assert send_due() == 0  # not before its time
        delivery.refresh_from_db()
        assert delivery.attempts == attempt
        Delivery.objects.filter(status="pending").update(due_at=timezone.now())
    assert delivery.status == "delivered"
    assert len({headers["webhook-id"] for headers, _ in receiver.had}) == 1
    assert {headers["webhook-id"] for headers, _ in receiver.had} == {str(delivery.pk)}


def test_time_is_up_at_last_and_a_person_may_try_anew(
    receiver: Receiver, hook: tuple[Webhook, str]
) -> None:
    delivery = ping(hook[0])
    Delivery.objects.update(attempts=len(BACKOFF))
    receiver.statuses = [503]
    send_due()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.response_status) == ("failed", 503)
    send_again(delivery)
    send_due()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("delivered", 1)


def test_an_address_that_is_gone_is_told_nothing_more(
    project: Project, receiver: Receiver, hook: tuple[Webhook, str]
) -> None:
    receiver.statuses = [410]
    ping(hook[0])
    send_due()
    hook[0].refresh_from_db()
    assert not hook[0].is_active
    tell(project.pk, "alias.moved", {})
    assert Delivery.objects.filter(event="alias.moved").count() == 0


def test_nobody_answers_and_that_is_said(project: Project, receiver: Receiver) -> None:
    webhook, _ = add_webhook(project, url=receiver.url, events=["alias.moved"])
    Webhook.objects.update(url="http://127.0.0.1:9/in")  # nobody listens there
    delivery = ping(webhook)
    send_due()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.response_status) == ("pending", None)
    assert delivery.error


def test_two_senders_send_each_message_once(receiver: Receiver, hook: tuple[Webhook, str]) -> None:
    for _ in range(60):
        ping(hook[0])

    def send() -> None:
        send_due()
        connection.close()

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    deadline = time.monotonic() + 30
    while Delivery.objects.exclude(status="delivered").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [headers["webhook-id"] for headers, _ in receiver.had]
    assert len(names) == len(set(names)) == 60


@pytest.mark.parametrize(
    ("url", "param"),
    [
        ("http://169.254.169.254/latest/meta-data", "url"),
        ("http://10.0.0.7/in", "url"),
        ("ftp://127.0.0.1/in", "url"),
        ("http://user:pass@127.0.0.1/in", "url"),
        ("nonsense", "url"),
    ],
)
def test_an_address_inside_the_house_is_refused(project: Project, url: str, param: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        add_webhook(project, url=url, events=["alias.moved"])
    assert refused.value.param == param


@pytest.mark.parametrize("events", [[], ["poetry.written"], ["ping"]])
def test_only_known_events_can_be_asked_for(project: Project, events: list[str]) -> None:
    with pytest.raises(InvalidInput, match="events are some of"):
        add_webhook(project, url="http://127.0.0.1:9999/in", events=events)


def test_the_secret_is_kept_encrypted(hook: tuple[Webhook, str]) -> None:
    assert hook[1] not in hook[0].secret_ciphertext


def test_old_deliveries_are_forgotten(hook: tuple[Webhook, str]) -> None:
    ping(hook[0])
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=31))
    prune_deliveries()
    assert not Delivery.objects.exists()


def test_waits_grow_and_end() -> None:
    waits = [wait_after(n) for n in range(1, len(BACKOFF) + 2)]
    assert waits == [*BACKOFF, None]
    assert list(BACKOFF) == sorted(BACKOFF)


def test_a_signature_is_of_the_name_the_time_and_the_body() -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    secret, body = new_secret(), body_of("ping", at, {})
    same = signed_headers(secret, "a", at, body)
    assert same == signed_headers(secret, "a", at, body)
    later = at + timedelta(seconds=1)
    others = [
        signed_headers(secret, "b", at, body),
        signed_headers(secret, "a", later, body),
        signed_headers(secret, "a", at, body + b" "),
    ]
    assert all(one["webhook-signature"] != same["webhook-signature"] for one in others)


# --- doors ----------------------------------------------------------------------------------------
def test_an_owner_makes_one_pings_it_and_takes_it_away(
    project: Project, receiver: Receiver, alice: User
) -> None:
    client = Client()
    client.force_login(alice)
    typed = {"url": receiver.url, "events": ["alias.moved"]}
    assert "whsec_" in client.post("/acme/-/webhooks/new/", typed).content.decode()
    webhook = Webhook.objects.get()
    client.post(f"/acme/-/webhooks/{webhook.pk}/ping/")
    send_due()
    assert "delivered" in client.get(f"/acme/-/webhooks/{webhook.pk}/").content.decode()
    assert receiver.url in client.get("/acme/").content.decode()
    client.post(f"/acme/-/webhooks/{webhook.pk}/remove/")
    assert not Webhook.objects.exists()
    refused = client.post("/acme/-/webhooks/new/", {**typed, "url": "http://10.0.0.1/"})
    assert refused.status_code == 422


def test_a_program_does_the_same(project: Project, receiver: Receiver) -> None:
    _, key = create_key(project, name="ci", scopes=["api"])
    client = Client(headers={"authorization": f"Bearer {key}"})
    body = {"url": receiver.url, "events": ["alias.moved"]}
    made = client.post("/api/v1/webhooks", body, "application/json").json()
    assert made["secret"].startswith("whsec_")
    assert "secret" not in client.get("/api/v1/webhooks").json()[0]
    sent = client.post(f"/api/v1/webhooks/{made['id']}/ping").json()
    send_due()
    [seen] = client.get(f"/api/v1/webhooks/{made['id']}/deliveries").json()
    assert (seen["id"], seen["status"]) == (sent["id"], "delivered")
    assert client.post(f"/api/v1/deliveries/{sent['id']}/again").json()["status"] == "pending"
    assert client.delete(f"/api/v1/webhooks/{made['id']}").status_code == 204
    assert json.loads(client.get("/api/v1/webhooks").content) == []
