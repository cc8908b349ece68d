"""Short texts with near copies planted among them: what `curate.py` measures with.

Every text is of some 220 characters. Two originals share no more than common words. A copy is its
source with a typo in two words, with one word of twelve replaced, with a greeting and thanks around
it, or with other case and punctuation. The same size gives the same texts on every machine.
"""

import itertools
from collections.abc import Iterator
from random import Random

KINDS = ("typo", "words", "around", "same words")
COPIES = 0.3  # of all texts
RECENT = 20_000  # originals that a copy may be of, so that generating keeps little
LETTERS = "abcdefghijklmnopqrstuvwxyz"
GREETINGS = ("Hi there,", "Hello team,", "Good morning,", "Again:")


def texts(count: int, seed: int = 42) -> Iterator[tuple[str, int, str]]:
    """Yield (text, the number of its original, the kind of copy or "")."""
    random = Random(seed)
    words = ["".join(random.choices(LETTERS, k=random.randint(3, 9))) for _ in range(8000)]
    # Some words are common.
    weights = list(itertools.accumulate(1 / (10 + rank) for rank in range(len(words))))
    recent: list[tuple[int, list[str]]] = []
    for number in range(count):
        if recent and random.random() < COPIES:
            original, said = random.choice(recent)
            kind = random.choice(KINDS)
            yield _copy(said, kind, words, random), original, kind
            continue
        said = random.choices(words, cum_weights=weights, k=random.randint(28, 38))
        recent.append((number, said))
        if len(recent) > RECENT:
            recent[random.randrange(len(recent))] = recent.pop()
        yield " ".join(said), number, ""


def _copy(said: list[str], kind: str, words: list[str], random: Random) -> str:
    said = list(said)
    if kind == "typo":
        for at in random.sample(range(len(said)), 2):
            word = said[at]
            cut = random.randrange(len(word))
            said[at] = word[:cut] + random.choice(LETTERS) + word[cut + 1 :]
    elif kind == "words":
        for at in random.sample(range(len(said)), len(said) // 12):
            said[at] = random.choice(words)
    elif kind == "around":
        return f"{random.choice(GREETINGS)} {' '.join(said)}. Thanks a lot!"
    else:
        return ", ".join([" ".join(said[:9]).capitalize(), " ".join(said[9:])]) + "!"
    return " ".join(said)
