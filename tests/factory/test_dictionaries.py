"""Dictionaries of payloads: trained when they pay, one to a project, none with erased text."""

from datetime import timedelta

import pytest
from django.utils import timezone

from factory.erasure import own_text_in
from factory.models import CallPayload, PayloadDictionary, Project
from factory.services import dictionaries
from factory.services.capture import record_calls
from factory.services.dictionaries import (
    dictionaries_with_text_of,
    repack,
    tend_dictionaries,
    train_payload_dictionary,
)
from tests.conftest import call_record

pytestmark = pytest.mark.django_db

SECRET = "the very private story of how the blue umbrella came to be lost in the harbour"


def captured(project: Project, count: int, text: str = "ticket") -> None:
    words = "where is my parcel please refund the invoice reset login".split()  # noqa: SIM905
    texts = [f"{text} {n} {' '.join(words[n % 7 : n % 7 + 5])}" for n in range(count)]
    record_calls(project, [call_record(one) for one in texts], "import")


def test_one_is_trained_at_500_calls_and_again_at_ten_times_as_many(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(project, 499)
    assert train_payload_dictionary(project) is None
    captured(project, 1, "the last")
    first = train_payload_dictionary(project)
    assert first is not None
    assert first.sample_count == 500
    assert train_payload_dictionary(project) is None
    monkeypatch.setattr(dictionaries, "GROWTH", 1)
    assert train_payload_dictionary(project) is not None


def test_every_payload_is_packed_with_it_and_reads_as_before(project: Project) -> None:
    captured(project, 500)
    plain = {row.pk: (row.read(), len(row.body)) for row in CallPayload.objects.all()}
    tend_dictionaries()
    made = PayloadDictionary.objects.get()
    rows = list(CallPayload.objects.all())
    assert {row.dictionary_id for row in rows} == {made.pk}
    assert {row.pk: row.read() for row in rows} == {pk: body for pk, (body, _) in plain.items()}
    assert sum(len(row.body) for row in rows) < 0.6 * sum(size for _, size in plain.values())


def test_a_superseded_one_goes_when_no_writer_can_hold_it_any_more(project: Project) -> None:
    captured(project, 500)
    tend_dictionaries()
    newest = train_payload_dictionary(project, needed=True)
    tend_dictionaries()
    assert PayloadDictionary.objects.count() == 2
    PayloadDictionary.objects.update(created_at=timezone.now() - timedelta(hours=2))
    tend_dictionaries()
    assert PayloadDictionary.objects.get() == newest
    assert all(row.read() for row in CallPayload.objects.all())


def test_a_dictionary_that_holds_what_only_some_calls_said_is_found_out(project: Project) -> None:
    captured(project, 400)
    captured(project, 60, SECRET)
    made = train_payload_dictionary(project, needed=True)
    assert made is not None
    assert SECRET[:30].encode() in bytes(made.body)
    private = project.calls.filter(request_id__contains="umbrella").values_list("pk", flat=True)
    assert dictionaries_with_text_of(project, list(private)) == {made.pk}
    assert dictionaries_with_text_of(project, []) == set()


def test_text_of_everybody_is_nobodys_own() -> None:
    dictionary = b"You are a helpful assistant. anna@example.org wrote"
    common, own = b"You are a helpful assistant.", b"x anna@example.org wrote y"
    assert own_text_in(dictionary, [common + own], [common])
    assert not own_text_in(dictionary, [common + b" something else"], [common + b" yes"])


def test_repacking_without_a_dictionary_does_nothing(project: Project) -> None:
    captured(project, 3)
    assert repack(project) == 0
