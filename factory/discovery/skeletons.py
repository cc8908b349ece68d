"""The skeletons of a project's prompts: which group a call belongs to, and what varies in it.

Groups form a tree. Its roots hold nothing but tools and answer format; where enough different
calls of a group share more than the group's constants, a more specific group opens below it. So
templates come out of free chat and two instructions out of one preamble by the same step, whatever
the order of the calls, and thousands of unlike prompts stay in one miscellaneous group.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import orjson

from factory.digest import digest_of
from factory.discovery import mining
from factory.discovery.mining import Parts, Prompt
from factory.discovery.rivals import are_rivals
from factory.messages import Json

MAX_GROUPS = 300  # of a project; what comes later is miscellaneous
MAX_KEYS = 16  # sets of tools and formats; what comes later shares one, as tools that vary do
MAX_DEPTH = 4
LIGHT = 16  # tokens: a constant part as short as "You are a helpful assistant." says nothing
FIRST_SAMPLE, WHOLE_SAMPLE = 16, 128  # different calls at the first look, and at the last
MOST_PROMISING = 512  # prompts kept for the next look
MAX_REST = 512  # calls that a light group lets pass between two fruitless samples
SAMPLED_CHARACTERS = 16_000_000  # of all samples together
CACHED = 512  # instructions whose group is known by digest
KEPT_SHARE = 0.6  # of a skeleton's first constants: less of them is another skeleton


@dataclass(frozen=True)
class Skeleton:
    """The constant part of a group's calls. It holds nothing that only a few calls said."""

    signature: str  # made of what it was first; stays when values become slots
    parent: str  # the group it came out of; empty for a miscellaneous one
    tools: str  # digest of names and parameters; empty where there are none
    response_format: str
    system: Parts = ()
    turns: Parts = ()
    floor: int = 0  # tokens that it never falls below

    def as_json(self) -> Json:
        """Return what `skeleton_from_json` reads."""
        return asdict(self)

    @property
    def is_miscellaneous(self) -> bool:
        """Whether it has no constant part."""
        return not self.parent

    @cached_property
    def size(self) -> int:
        """Tokens of wording in the constant part."""
        return mining.size(self.system) + mining.size(self.turns)

    @cached_property
    def slots(self) -> int:
        """How many slots `variable_part` finds values for."""
        return sum(_slots_between(parts) for parts in (self.system, self.turns))

    def follows(self, prompt: Prompt) -> bool:
        """Whether a prompt holds all the constants."""
        return mining.gaps(self.system, prompt.system) is not None and (
            not self.turns or mining.gaps(self.turns, prompt.turns) is not None
        )

    def values(self, prompt: Prompt) -> mining.Sample:
        """Return the masked values of the slots in the instructions and in the turns."""
        return (
            mining.values(self.system, prompt.system),
            mining.values(self.turns, prompt.turns),
        )

    def text(self) -> str:
        """Show the constant part: `{slot}` for what varies, `{#}` for dates, numbers and ids."""
        shown = [_shown(self.system, "system")] if "".join(self.system) != EMPTY else []
        return "\n".join([*shown, _shown(self.turns, "user")])


EMPTY = mining.framed("")


def skeleton_from_json(value: Json) -> Skeleton:
    """Read what `Skeleton.as_json` wrote."""
    return Skeleton(**{**value, "system": tuple(value["system"]), "turns": tuple(value["turns"])})


@dataclass(frozen=True)
class Match:
    """The group of a call."""

    skeleton: Skeleton

    @property
    def signature(self) -> str:
        """The group's lasting name."""
        return self.skeleton.signature


def variable_part(skeleton: Skeleton, messages: list[Json]) -> list[str]:
    """Return what a call has in its skeleton's slots, in order, as it was said.

    A call that does not follow the skeleton is variable throughout: one value.
    """
    prompt = Prompt(messages)
    channels = ((skeleton.system, prompt.plain_system), (skeleton.turns, prompt.plain_turns))
    if not skeleton.follows(prompt):
        return [_spoken("".join(text for _, text in channels))]
    return [value for parts, text in channels for value in _said(parts, text)]


@dataclass
class _Node:
    """A group, those that came out of it, and the evidence for more."""

    skeleton: Skeleton
    depth: int = 0
    is_settled: bool = False
    is_used: bool = False
    children: list["_Node"] = field(default_factory=list)
    sample: dict[int, Prompt] = field(default_factory=dict)  # by name
    due: int = 2 * FIRST_SAMPLE
    rest: int = 0
    promising: int = 0  # prompts kept after the last look: they share much with another
    fruitless: int = 0  # looks in a row

    @cached_property
    def shingles(self) -> set[Any]:
        skeleton = self.skeleton
        return {s for p in skeleton.system + skeleton.turns for s in mining.shingles(p)}

    @property
    def is_light(self) -> bool:
        return not self.skeleton.turns and self.skeleton.size < LIGHT

    def below(self) -> Iterator["_Node"]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.below()


class Skeletons:
    """The groups of one project, in memory; `take_changed` says what to save.

    `settled` groups (a person gave them a workload) never split and keep their constants but for
    values: calls that a workload has go on coming to it.
    """

    def __init__(
        self, skeletons: Iterable[Skeleton] = (), settled: Collection[str] = frozenset()
    ) -> None:
        self._roots: dict[tuple[str, str], _Node] = {}
        self._nodes: dict[str, _Node] = {}
        self._keys: OrderedDict[bytes, tuple[str, str]] = OrderedDict()
        self._known: OrderedDict[tuple[str, bytes], _Node] = OrderedDict()
        self._sampled = 0
        self._split_lately: set[str] = set()
        # A parent is smaller than what came out of it.
        for skeleton in sorted(skeletons, key=lambda s: (bool(s.parent), s.size)):
            self._place(skeleton).is_settled = skeleton.signature in settled
        self._saved = {name: node.skeleton for name, node in self._nodes.items()}

    def __iter__(self) -> Iterator[Skeleton]:
        """Yield all groups' skeletons."""
        return (node.skeleton for node in self._nodes.values())

    def assign(self, messages: list[Json], params: Json) -> Match:
        """Return a call's group, learning from the call. Groups may change: see `take_changed`."""
        return self._match(messages, params, learns=True)

    def match(self, messages: list[Json], params: Json) -> Match:
        """Return a call's group as the groups are now."""
        return self._match(messages, params, learns=False)

    def assign_all(self, calls: Iterable[tuple[list[Json], Json]]) -> list[Match]:
        """Return the groups of a batch's calls, those that came before their group among them."""
        batch = list(calls)
        for messages, params in batch:
            self._match(messages, params, learns=True)
        return [self.match(messages, params) for messages, params in batch]

    def take_changed(self) -> list[Skeleton]:
        """Return the skeletons that are new or were generalised since the last time."""
        now = {n: node.skeleton for n, node in self._nodes.items() if node.is_used}
        changed = [s for name, s in now.items() if self._saved.get(name) != s]
        self._saved |= now
        return changed

    def take_split(self) -> set[str]:
        """Return the groups that others came out of since the last time.

        `match` may find a more specific group for calls that were assigned to them before.
        """
        split, self._split_lately = self._split_lately, set()
        return split

    def merges(self) -> list[tuple[str, str]]:
        """Return pairs of groups whose skeletons became equal: the one to keep, the other."""
        first: dict[tuple[object, ...], str] = {}
        pairs = []
        for name, node in self._nodes.items():
            s = node.skeleton
            kept = first.setdefault((s.tools, s.response_format, s.system, s.turns), name)
            if kept != name:
                pairs.append((kept, name))
        return pairs

    def _match(self, messages: list[Json], params: Json, *, learns: bool) -> Match:
        root = self._root(params)
        prompt = Prompt(messages)
        key = (root.skeleton.signature, _digest(prompt.system_source))
        node = self._known.get(key)
        if node is None:
            node = self._found(root, prompt, key, learns=learns)
        else:
            self._known.move_to_end(key)
        if learns and not node.is_settled:
            node = self._learned(node, prompt)
        node.is_used = True
        return Match(node.skeleton)

    def _found(self, root: _Node, prompt: Prompt, key: tuple[str, bytes], *, learns: bool) -> _Node:
        node, by_instructions = self._descended(root, prompt)
        if learns and (child := self._generalised(node, prompt)):
            node, by_instructions = self._descended(child, prompt)
        elif by_instructions:
            self._known[key] = node
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        return node

    def _descended(self, node: _Node, prompt: Prompt) -> tuple[_Node, bool]:
        """Return the most specific group, and whether the instructions alone decided it."""
        by_instructions = True
        while True:
            for child in node.children:
                if mining.gaps(child.skeleton.system, prompt.system) is None:
                    continue
                by_instructions = by_instructions and not child.skeleton.turns
                if child.skeleton.follows(prompt):
                    node = child
                    break
            else:
                return node, by_instructions

    def _generalised(self, node: _Node, prompt: Prompt) -> _Node | None:
        """Make slots of the values in which a prompt differs from a group, if only in values."""
        if not node.children:
            return None
        own = mining.shingles(prompt.system) | mining.shingles(prompt.turns)
        shares = [(len(c.shingles & own) / max(len(c.shingles), 1), c) for c in node.children]
        for share, child in sorted(shares, key=lambda pair: pair[0], reverse=True):
            if share < KEPT_SHARE:
                return None
            if self._is_widened(child, prompt.channels()):
                return child
        return None

    def _is_widened(self, node: _Node, texts: tuple[str, str]) -> bool:
        old = node.skeleton
        if old.size < mining.MIN_PROSE:
            return False
        system = mining.without_changes(old.system, texts[0])
        turns = mining.without_changes(old.turns, texts[1]) if old.turns else ()
        if system is None or turns is None:
            return False
        new = replace(old, system=system, turns=turns)
        if new.size < old.floor or are_rivals(old.system, (texts[0],)):
            return False
        self._reshape(node, new)
        return True

    def _learned(self, node: _Node, prompt: Prompt) -> _Node:
        if node.rest:
            node.rest -= 1
            return node
        if self._sample(node, prompt):
            opened = node.is_light and self._open(node, [prompt])
        elif len(node.sample) < node.due or not self._has_room(node):
            return node
        else:
            opened = self._split(node)
        if not opened:
            return node
        self._split_lately.add(node.skeleton.signature)
        return self._descended(node, prompt)[0]

    def _has_room(self, node: _Node) -> bool:
        return len(self._nodes) < MAX_GROUPS and node.depth < MAX_DEPTH

    def _sample(self, node: _Node, prompt: Prompt) -> bool:
        """Keep a prompt unlike those kept; of a growing conversation the latest.

        Tells whether one that is kept has now come often enough to be a template by itself.
        """
        seen = node.sample
        if prompt.name in seen:
            return seen[prompt.name].is_said_again(prompt)
        if any(prompt.name in kept.openings for kept in seen.values()):
            return False
        self._forget(node, prompt.openings & node.sample.keys())
        if self._sampled > SAMPLED_CHARACTERS:
            self._forget(node, node.sample)
        node.sample[prompt.name] = prompt.settled()
        self._sampled += _weight(prompt)
        return False

    def _forget(self, node: _Node, names: Iterable[int]) -> None:
        for name in list(names):
            self._sampled -= _weight(node.sample.pop(name))

    def _split(self, node: _Node) -> bool:
        """Open the groups that a node's sample gives evidence for; tell whether it did."""
        names = list(node.sample)
        prompts = list(node.sample.values())
        samples = [node.skeleton.values(prompt) for prompt in prompts]
        if node.depth:
            samples = [(s, [mining.without_answers(t) for t in turns]) for s, turns in samples]
        opened = False

        def opens(mask: int) -> bool:
            nonlocal opened
            done = self._open(node, [prompts[i] for i in mining.bits(mask)])
            opened = opened or done
            return done

        promising = 0
        if node.is_light:
            promising = mining.clusters(samples, opens)
        else:
            instructions, asked = [s for s, _ in samples], [t for _, t in samples]
            found = (
                mining.choices(instructions, 0.04, 0.6)
                or mining.alternatives(instructions, 0.04, 0.6)
                or mining.alternatives(asked, 0.1, 0.75)
            )
            kept = self._rivals(node, [[prompts[i] for i in mining.bits(m)] for m in found])
            for mask in found if kept else []:
                opens(mask)
        keep = {names[i] for i in mining.bits(promising)}
        self._after_look(node, opened=opened, keep=keep)
        return opened

    def _rivals(self, node: _Node, groups: list[list[Prompt]]) -> bool:
        """Tell whether what groups of a node's prompts share are instructions of several tasks."""
        drafts = [self._draft(node, prompts) for prompts in groups]
        return all(_are_rivals(one, other) for one, other in combinations(drafts, 2))

    def _after_look(self, node: _Node, *, opened: bool, keep: set[int]) -> None:
        """Set when to look again: soon after a find, ever later without one."""
        if not node.is_light and not opened and node.due < WHOLE_SAMPLE:
            node.due *= 2  # the same calls count again
            return
        gone = [
            name
            for name, prompt in node.sample.items()
            if name not in keep or any(c.skeleton.follows(prompt) for c in node.children)
        ]
        self._forget(node, gone)
        self._forget(node, list(node.sample)[:-MOST_PROMISING])
        grew, node.promising = len(node.sample) > node.promising, len(node.sample)
        node.fruitless = 0 if opened or grew else node.fruitless + 1
        longest = MAX_REST if node.is_light else 16 * MAX_REST
        node.rest = min(8 * 2**node.fruitless, longest) if node.fruitless > 1 else 0
        fresh = max(FIRST_SAMPLE * min(node.fruitless + 1, 4), len(node.sample) // 4)
        node.due = len(node.sample) + fresh

    def _open(self, node: _Node, prompts: list[Prompt]) -> bool:
        """Open a group for prompts that share constants, unless an existing one takes them."""
        if not self._has_room(node):
            return False
        draft = self._draft(node, prompts)
        is_told = mining.size(draft.system) > mining.size(node.skeleton.system)
        more = 2 if node.is_light else 1
        if draft.size < node.skeleton.size + more or not (
            is_told or mining.is_template(draft.turns)
        ):
            return False
        draft = replace(draft, floor=round(KEPT_SHARE * draft.size))
        if self._absorbed(node, draft, prompts):
            return True
        self._place(replace(draft, signature=self._signature(draft)))
        return True

    def _draft(self, node: _Node, prompts: list[Prompt]) -> Skeleton:
        system = mining.constant_parts([prompt.system for prompt in prompts])
        turns = mining.constant_parts([prompt.turns for prompt in prompts])
        return replace(node.skeleton, parent=node.skeleton.signature, system=system, turns=turns)

    def _absorbed(self, node: _Node, draft: Skeleton, prompts: list[Prompt]) -> bool:
        """Let a sibling that differs in values only take these prompts too.

        Of few words each counts: "Translate to French: " and "Translate to German: " stay two.
        """
        if draft.size < mining.MIN_PROSE:
            return False
        for child in node.children:
            own = child.skeleton
            both = replace(
                own,
                system=mining.common_parts(own.system, draft.system),
                turns=mining.common_parts(own.turns, draft.turns),
            )
            least = max(own.floor, round(KEPT_SHARE * max(own.size, draft.size)))
            if child.is_settled or both.size < least or _are_rivals(own, draft):
                continue
            samples = [both.values(prompt) for prompt in prompts]
            if mining.alternatives([s + t for s, t in samples], 0.1, 0.6):
                continue
            self._reshape(child, both)
            return True
        return False

    def _reshape(self, node: _Node, skeleton: Skeleton) -> None:
        node.skeleton = skeleton
        node.__dict__.pop("shingles", None)
        parent = self._parent(skeleton)
        self._split_lately.add(parent.skeleton.signature)  # it takes more of its parent's calls
        self._reorder(parent)

    def _reorder(self, parent: _Node) -> None:
        parent.children.sort(key=lambda child: (-child.skeleton.size, child.skeleton.signature))
        self._known.clear()

    def _place(self, skeleton: Skeleton) -> _Node:
        node = _Node(skeleton)
        node.due = FIRST_SAMPLE if node.is_light else 2 * FIRST_SAMPLE
        self._nodes[skeleton.signature] = node
        if skeleton.is_miscellaneous:
            self._roots[skeleton.tools, skeleton.response_format] = node
            return node
        parent = self._parent(skeleton)
        node.depth = parent.depth + 1
        parent.children.append(node)
        self._reorder(parent)
        return node

    def _parent(self, skeleton: Skeleton) -> _Node:
        known = self._nodes.get(skeleton.parent)
        return known or self._root_of((skeleton.tools, skeleton.response_format))

    def _signature(self, draft: Skeleton) -> str:
        name = digest_of(draft.as_json() | {"signature": ""})
        while name in self._nodes:
            name = digest_of(name)
        return name

    def _root(self, params: Json) -> _Node:
        asked = {"tools": params.get("tools"), "format": params.get("response_format")}
        raw = _digest(orjson.dumps(asked))
        key = self._keys.get(raw)
        if key is None:
            key = self._keys[raw] = (_shape_digest(asked["tools"]), _shape_digest(asked["format"]))
            if len(self._keys) > CACHED:
                self._keys.popitem(last=False)
        return self._root_of(key)

    def _root_of(self, key: tuple[str, str]) -> _Node:
        if key not in self._roots and len(self._roots) >= MAX_KEYS:
            key = ("other", "other")
        if key not in self._roots:
            tools, response_format = key
            self._place(Skeleton(digest_of(list(key)), "", tools, response_format))
        return self._roots[key]


def _are_rivals(one: Skeleton, other: Skeleton) -> bool:
    return are_rivals(one.system, other.system) or are_rivals(one.turns, other.turns)


def _slots_between(parts: Parts) -> int:
    starts = bool(parts) and parts[0].startswith(mining.START)
    ends = bool(parts) and parts[-1].endswith(mining.END)
    return len(parts) + 1 - starts - ends


def _shown(parts: Parts, role: str) -> str:
    text = "{slot}".join(parts) or "{slot}"
    if not text.startswith(mining.START):
        text = text if text.startswith("{slot}") else "{slot}" + text
    if not text.endswith(mining.END):
        text = text if text.endswith("{slot}") else text + "{slot}"
    text = text.strip(EMPTY).replace(mining.VALUE, "{#}").replace(mining.CUT, "{slot}")
    text = re.sub(rf"{mining.ROLE}([a-z]+)\n", r"\n[\1]\n", text).strip("\n")
    return text if text.startswith("[") and role != "system" else f"[{role}]\n{text}"


def _said(parts: Parts, plain: str) -> list[str]:
    """Return the slots' values with the dates and numbers that masking took out of them."""
    text = mining.masked(plain)
    taken = [found.group() for found in mining.VOLATILE.finditer(plain)]
    said = []
    for start, end in mining.gaps(parts, text) or []:
        originals = iter(taken[text.count(mining.VALUE, 0, start) :])
        first, *rest = text[start:end].split(mining.VALUE)
        said.append(_spoken(first + "".join(next(originals) + piece for piece in rest)))
    return said


def _spoken(text: str) -> str:
    text = re.sub(rf"{mining.ROLE}[a-z]+\n", "\n", text)
    return re.sub(f"[{mining.START}{mining.END}{mining.CUT}]", "", text).strip()


def _weight(prompt: Prompt) -> int:
    return len(prompt.system) + len(prompt.turns)


def _digest(value: str | bytes) -> bytes:
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return hashlib.blake2b(raw, digest_size=16).digest()


def _shape_digest(value: object) -> str:
    """Return the digest of what tools or a format look like, whatever their order and words."""
    return digest_of(_shape(value)) if value else ""


WORDS = frozenset({"description", "title", "enum", "examples", "default", "const"})


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {k: _shape(v) for k, v in value.items() if k not in WORDS or isinstance(v, dict)}
    if isinstance(value, list):
        return sorted((_shape(item) for item in value), key=digest_of)
    return value
