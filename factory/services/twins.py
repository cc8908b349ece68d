"""One call, seen by the gateway and told of by a trace: the gateway's copy stays.

The two are known by the answer's id. Some servers count theirs from one, so they must also be of
about one time, of one model and of as many tokens, and nothing else in sight may have that id.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.db import transaction

from factory.capture.dialects import chat_form
from factory.capture.partitions import first_id
from factory.messages import CallRecord, Json, object_of
from factory.models import CallKey, CapturedCall, Example, Feedback, Project
from factory.services.discover import count_out
from factory.services.erase import delete_calls

APART = timedelta(minutes=5)  # by which the clocks of an app and of its gateway may differ


def kept_by_gateway(project: Project, traced: Sequence[CallRecord]) -> set[str]:
    """Return the request ids of the traced calls that the gateway has kept."""
    return {r.request_id for r, _ in _twins(project, traced, CapturedCall.Source.GATEWAY)}


@transaction.atomic
def drop_traced(project: Project, kept: Sequence[CallRecord]) -> int:
    """Remove what traces told of calls that the gateway kept and delivered later; return how many.

    Feedback and examples of them go over to the gateway's copies.
    """
    pairs = list(_twins(project, kept, CapturedCall.Source.OTLP))
    if not pairs:
        return 0
    # Whoever gives calls their groups is waited for.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    keys = CallKey.objects.filter(project=project, request_id__in=[r.request_id for r, _ in pairs])
    ids = dict(keys.values_list("request_id", "call_id"))
    for record, call in pairs:
        if heir := ids.get(record.request_id):
            Feedback.objects.filter(call=call).update(call=heir)
            Example.objects.filter(call=call).update(call=heir)
            CapturedCall.objects.filter(pk=heir).update(curated_at=call.curated_at)
    dropped = [call.pk for record, call in pairs if record.request_id in ids]
    count_out(list(CapturedCall.objects.filter(pk__in=dropped)))
    delete_calls(dropped, tombstones=True)
    return len(dropped)


def _twins(
    project: Project, records: Sequence[CallRecord], source: str
) -> Iterator[tuple[CallRecord, CapturedCall]]:
    """Yield the records that another door brought too, each with the call that it brought."""
    answers = [_answer(record) for record in records]
    times = Counter(str(answer.get("id") or "")[:128] for answer in answers)
    unique = [name for name, count in times.items() if name and count == 1]
    if not unique:
        return
    moments = [record.created_at for record in records]
    near = project.calls.filter(
        source=source, response_id__in=unique,
        pk__gte=first_id(min(moments) - APART), pk__lt=first_id(max(moments) + APART),
    )  # fmt: skip
    found = list(near)
    again = Counter(call.response_id for call in found)
    calls = {call.response_id: call for call in found if again[call.response_id] == 1}
    for record, answer in zip(records, answers, strict=True):
        call = calls.get(str(answer.get("id") or "")[:128])
        if call is not None and _is_same(record, answer, call):
            yield record, call


def _answer(record: CallRecord) -> Json:
    return object_of(chat_form(record.endpoint, record.request, record.response)[1])


def _is_same(record: CallRecord, answer: Json, call: CapturedCall) -> bool:
    usage = object_of(answer.get("usage"))
    alike = (
        (record.request.get("model"), call.request_model),
        (usage.get("prompt_tokens"), call.prompt_tokens),
        (usage.get("completion_tokens"), call.completion_tokens),
    )
    is_near = abs(record.created_at - call.created_at) <= APART
    return is_near and all(None in pair or pair[0] == pair[1] for pair in alike)
