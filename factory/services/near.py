"""The index of near copies: new rows meet the placed ones by their keys, never by a scan."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import connection
from django.db.models import Count, Min, QuerySet
from more_itertools import chunked

from factory.curation.conversations import earlier_inputs
from factory.curation.near_duplicates import BUCKET, Grams, Sketch, grams_of, jaccard, sketches
from factory.curation.placing import (
    SAME,
    Cluster,
    Ground,
    Known,
    Limits,
    Placed,
    Row,
    Tie,
    place,
)
from factory.curation.recipe import Recipe
from factory.curation.splits import Dealer
from factory.curation.variable import Templates
from factory.dedupe import input_digest, name_of
from factory.messages import Json
from factory.models import Example, NearKey, Workload

BATCH = 500
CANDIDATES = 16  # rows that a new one is compared with, those with the most bands in common first
INSERT = (
    f"INSERT INTO {NearKey._meta.db_table} (key, example_id) "
    "SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
)
ANALYZE = f"ANALYZE {Example._meta.db_table}, {NearKey._meta.db_table}"
GROWN = 5000  # rows written, from which the planner's figures are old
LOOK_UP = f"SELECT key, example_id FROM {NearKey._meta.db_table} WHERE key = ANY(%s::bigint[])"


class Growth:
    """Has the planner count the tables anew each time that as much again was written.

    A bulk of rows comes in faster than autovacuum looks: look-ups that were planned for a small
    table took twice as long after 80,000 rows.
    """

    def __init__(self) -> None:
        self.written, self.due = 0, GROWN

    def add(self, rows: int) -> None:
        """Note rows that were written and committed."""
        self.written += rows
        if self.written >= self.due:
            self.due = 2 * self.written
            with connection.cursor() as cursor:
                cursor.execute(ANALYZE)


@dataclass
class Found:
    """A row with all that it can be found by."""

    example: Example
    name: str
    sketch: Sketch
    words_key: int
    conversation_key: int | None
    own_key: int  # asked for by inputs that this one extends
    earlier: list[str]  # digests of the inputs that it extends itself
    earlier_keys: list[int]
    needs_bands: bool = True  # not where the same words are in the index already

    def asked(self) -> Iterable[int]:
        """Return the keys that it looks for others by."""
        yield from self.sketch.keys
        yield self.words_key
        yield self.own_key
        if self.conversation_key is not None:
            yield self.conversation_key

    def stored(self) -> set[int]:
        """Return the keys that others find it by."""
        keys = {self.words_key, *self.earlier_keys}
        if self.needs_bands:
            keys.update(self.sketch.keys)
        if self.conversation_key is not None:
            keys.add(self.conversation_key)
        return keys


@dataclass
class Neighbours:
    """What a batch met in the index."""

    buckets: Mapping[int, list[int]]  # examples by key
    known: dict[int, Known] = field(default_factory=dict)
    grams: dict[int, Grams] = field(default_factory=dict)
    by_name: dict[str, int] = field(default_factory=dict)  # rows that nobody indexed
    by_digest: dict[str, int] = field(default_factory=dict)


@dataclass
class Placing:
    """What became of a batch, and what the index held of its keys."""

    rows: list[Found]
    placed: list[Placed]
    buckets: Mapping[int, list[int]]


@dataclass(frozen=True)
class Met:
    """A placed row near an input; the similarity is that of their words, `SAME` if all are one."""

    split: str
    similarity: float


# --- placing --------------------------------------------------------------------------------------
def place_examples(
    workload: Workload,
    examples: Sequence[Example],
    recipe: Recipe,
    dealer: Dealer,
    templates: Templates,
    *,
    asked: str | None = None,
) -> Placing:
    """Give new examples their cluster, group and split; save none of it but merged groups.

    Call it under the project's lock. Those that got no split lie between two. Once the examples
    are saved, `index` them: it takes those that got one.
    """
    rows = _found(workload, examples, templates)
    met = _look_up(workload, rows, recipe, templates)
    ties = _ties(rows, met, recipe.near.similarity)
    labels = workload.labels
    given = [
        Row(
            name=row.name,
            label=row.example.target if row.example.target in labels else "",
            grams=row.sketch.grams,
            ties=tuple(ties[at]),
        )
        for at, row in enumerate(rows)
    ]
    ground = _ground(workload, met.known.values(), templates)
    limits = Limits(reach=recipe.near.reach, largest=recipe.near.largest)
    placed = place(given, ground, dealer, limits, asked=asked)
    for row, where, its in zip(rows, placed, ties, strict=True):
        row.example.cluster, row.example.group = where.cluster, where.group or row.name
        row.example.split = where.split
        row.needs_bands = not any(
            tie.similarity == SAME
            and (isinstance(tie.to, int) or tie.to.id in met.buckets.get(row.words_key, ()))
            for tie in its
        )
    for small in ground.merged:
        workload.examples.filter(group=small).update(group=ground.now(small))
    return Placing(rows, placed, met.buckets)


def index(placing: Placing) -> None:
    """Let later rows find these, which are saved."""
    sizes = Counter({key: len(members) for key, members in placing.buckets.items()})
    pairs: list[tuple[int, int]] = []
    for row in placing.rows:
        if row.example.split:
            kept = [key for key in row.stored() if sizes[key] < BUCKET]
            sizes.update(kept)
            pairs += [(key, row.example.pk) for key in kept]
    pairs.sort()
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [_array(key for key, _ in pairs), _array(pk for _, pk in pairs)])


def index_examples(workload: Workload, examples: Sequence[Example], templates: Templates) -> None:
    """Index rows that were placed elsewhere."""
    rows = _found(workload, examples, templates)
    index(Placing(rows, [], _buckets(key for row in rows for key in row.stored())))


def index_all(
    workload: Workload, templates: Templates, on_batch: Callable[[int], None] = lambda _: None
) -> None:
    """Index all rows of a workload that were placed before there was an index."""
    placed = workload.examples.exclude(split="").order_by("id")
    done = 0
    for batch in chunked(placed.iterator(BATCH), BATCH):
        index_examples(workload, batch, templates)
        done += len(batch)
        on_batch(done)


def met_by(
    workload: Workload, inputs: Sequence[list[Json]], recipe: Recipe, templates: Templates
) -> list[dict[int, Met]]:
    """Return the placed rows that inputs are near to, by their ids; nothing is placed."""
    asked = [
        Example(workload=workload, messages=messages, digest=input_digest(messages))
        for messages in inputs
    ]
    rows = _found(workload, asked, templates)
    known = _look_up(workload, rows, recipe, templates)
    found = []
    for row in rows:
        ties = _known_ties(row, known, recipe.near.similarity)
        near = ((tie.to, tie.similarity) for tie in ties if tie.similarity is not None)
        found.append({to.id: Met(to.split, alike) for to, alike in near if isinstance(to, Known)})
    return found


# --- meeting --------------------------------------------------------------------------------------
def _found(workload: Workload, examples: Sequence[Example], templates: Templates) -> list[Found]:
    words = [templates.words(example.messages) for example in examples]
    rows = []
    for example, said, sketch in zip(
        examples, words, sketches(words, salt=workload.pk), strict=True
    ):
        name, talk = name_of(said), example.conversation
        earlier = earlier_inputs(example.messages)
        rows.append(
            Found(
                example=example,
                name=name,
                sketch=sketch,
                words_key=_key(workload.pk, "words", name),
                conversation_key=_key(workload.pk, "conversation", talk) if talk else None,
                own_key=_key(workload.pk, "input", example.digest),
                earlier=earlier,
                earlier_keys=[_key(workload.pk, "input", digest) for digest in earlier],
            )
        )
    return rows


def _key(workload: int, kind: str, value: str) -> int:
    digest = hashlib.blake2b(f"{workload}:{kind}:{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _array(numbers: Iterable[int]) -> str:
    # As PostgreSQL writes arrays: the driver takes ten times as long to write one of numbers.
    return f"{{{','.join(map(str, numbers))}}}"


def _buckets(keys: Iterable[int]) -> dict[int, list[int]]:
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(LOOK_UP, [_array(sorted(set(keys)))])
        for key, example in cursor.fetchall():
            buckets[key].append(example)
    return dict(buckets)


def _look_up(
    workload: Workload, rows: Sequence[Found], recipe: Recipe, templates: Templates
) -> Neighbours:
    met = Neighbours(_buckets(key for row in rows for key in row.asked()))
    wanted = {pk for row in rows for pk in _candidates(row, met.buckets)}
    placed = workload.examples.exclude(split="").only(
        "workload", "digest", "messages", "cluster", "group", "split"
    )
    named = placed.filter(group__in={row.name for row in rows})
    earlier = {digest for row in rows for digest in row.earlier}
    for example in placed.filter(pk__in=wanted):
        _remember(met, example)
        if recipe.near.similarity < SAME:
            met.grams[example.pk] = grams_of(templates.words(example.messages))
    for example in named.order_by("group", "id").distinct("group"):
        met.by_name[example.group] = _remember(met, example)
    if earlier:
        for example in placed.filter(digest__in=earlier):
            met.by_digest[example.digest] = _remember(met, example)
    return met


def _remember(met: Neighbours, example: Example) -> int:
    cluster = example.cluster or example.group
    met.known[example.pk] = Known(example.pk, cluster, example.group, example.split)
    return example.pk


def _candidates(row: Found, buckets: Mapping[int, list[int]]) -> set[int]:
    shared = Counter(pk for key in row.sketch.keys for pk in buckets.get(key, ()))
    near = {pk for pk, _ in shared.most_common(CANDIDATES)}
    keys = (row.words_key, row.own_key, row.conversation_key)
    return near.union(*(buckets.get(key, ()) for key in keys if key is not None))


def _ties(rows: Sequence[Found], met: Neighbours, similarity: float) -> list[list[Tie]]:
    """Return what each row is tied to: placed rows, and earlier rows of the batch."""
    here: defaultdict[int, list[int]] = defaultdict(list)
    ties: list[list[Tie]] = []
    for at, row in enumerate(rows):
        ties.append([*_known_ties(row, met, similarity), *_batch_ties(rows, at, here, similarity)])
        for key in {*row.asked(), *row.earlier_keys}:
            if len(here[key]) < BUCKET:
                here[key].append(at)
    return ties


def _known_ties(row: Found, met: Neighbours, similarity: float) -> Iterable[Tie]:
    same = {*met.buckets.get(row.words_key, ()), met.by_name.get(row.name)}
    talk = {*met.buckets.get(row.own_key, ()), *map(met.by_digest.get, row.earlier)}
    if row.conversation_key is not None:
        talk.update(met.buckets.get(row.conversation_key, ()))
    for pk in sorted(same & met.known.keys()):
        yield Tie(met.known[pk], SAME)
    near = _candidates(row, met.buckets) - same
    for pk in sorted(near & met.grams.keys()):
        alike = jaccard(row.sketch.grams, met.grams[pk])
        if alike >= similarity:
            yield Tie(met.known[pk], min(alike, 0.999))  # the same words differ in their order
    for pk in sorted(talk & met.known.keys()):
        yield Tie(met.known[pk], None)


def _batch_ties(
    rows: Sequence[Found], at: int, here: Mapping[int, list[int]], similarity: float
) -> Iterable[Tie]:
    row = rows[at]
    same = set(here.get(row.words_key, ()))
    for other in sorted(same):
        yield Tie(other, SAME)
    shared = Counter(one for key in row.sketch.keys for one in here.get(key, ()))
    for other, _ in shared.most_common(CANDIDATES):
        alike = jaccard(row.sketch.grams, rows[other].sketch.grams)
        if other not in same and alike >= similarity:
            yield Tie(other, min(alike, 0.999))
    talk = set(here.get(row.own_key, ()))
    talk.update(other for key in row.earlier_keys for other in here.get(key, ()))
    if row.conversation_key is not None:
        talk.update(here.get(row.conversation_key, ()))
    for other in sorted(talk):
        yield Tie(other, None)


def _ground(workload: Workload, known: Iterable[Known], templates: Templates) -> Ground:
    rows = list(known)
    if not rows:
        return Ground()
    groups, clusters = {row.group for row in rows}, {row.cluster for row in rows}
    members = workload.examples.filter(group__in=groups).exclude(split="").order_by()
    sizes = dict(members.values_list("group").annotate(Count("id")))
    firsts = members.filter(cluster__in=clusters).values("cluster").annotate(first=Min("id"))
    founders: QuerySet[Example] = workload.examples.filter(pk__in=firsts.values("first"))
    return Ground(
        clusters={
            example.cluster: Cluster(grams_of(templates.words(example.messages)))
            for example in founders.only("workload", "cluster", "messages")
        },
        sizes=sizes,
    )
