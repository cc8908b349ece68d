"""Where an answer's values come from in the input, and which words are in the wrong place."""

import json
from random import Random

from labeling.fields import reading
from labeling.suspicion import Row, doubts

ARTISTS = [f"artist{n} band{n % 7}" for n in range(40)]
LISTS = [f"mix{n} hits" for n in range(30)]


def test_a_value_is_placed_on_the_words_that_it_was_copied_from() -> None:
    output = json.dumps({"intent": "play", "slots": {"artist": "Blag Dahlia", "n": 2}})
    found = reading("add Blag Dahlia to 2 lists", output)
    assert found.places == ("", "slots.artist", "slots.artist", "", "slots.n", "")
    assert found.fixed == {"intent": "play"}


def test_a_part_of_a_word_is_no_copy() -> None:
    found = reading("the artist", json.dumps({"word": "art"}))
    assert found.fixed == {"word": "art"}


def commands(count: int) -> list[tuple[str, dict[str, str]]]:
    random = Random(2)
    made = []
    for _ in range(count):
        artist, playlist = random.choice(ARTISTS), random.choice(LISTS)
        text = random.choice([f"add {artist} to {playlist}", f"put {artist} onto my {playlist}"])
        made.append((text, {"artist": artist, "playlist": playlist}))
    return made


def test_dropped_and_cut_values_come_first_with_a_hint() -> None:
    rows, faults = [], {}
    for at, (text, slots) in enumerate(commands(300)):
        given = dict(slots)
        if at % 30 == 0:
            del given["playlist"]
            faults[at] = "dropped"
        elif at % 30 == 1:
            given["artist"] = given["artist"].split()[0]
            faults[at] = "cut"
        rows.append(Row(text, json.dumps({"intent": "add", "slots": given}), f"g{at}"))
    found = doubts(rows, {"type": "object"})
    worst = sorted(range(len(rows)), key=lambda at: -found[at].score)[: len(faults)]
    assert len(set(worst) & set(faults)) >= 0.9 * len(faults)
    assert any("looks like a part of slots.playlist" in found[at].hint for at in faults)


def test_a_value_that_stands_nowhere_in_the_input_is_doubted() -> None:
    rows = [
        Row(text, json.dumps({"intent": "add", "slots": slots}), f"g{at}")
        for at, (text, slots) in enumerate(commands(120))
    ]
    text, slots = commands(1)[0]
    rows.append(
        Row(text, json.dumps({"intent": "add", "slots": {**slots, "artist": "Nobody"}}), "x")
    )
    doubt = doubts(rows, {"type": "object"})[-1]
    assert doubt.score > 0.9
    assert "Nobody" in doubt.hint or "artist" in doubt.hint
