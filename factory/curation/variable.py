"""The variable part of an input: what is compared, for a shared prompt makes all inputs alike."""

from collections.abc import Iterable, Sequence

from factory.dedupe import words_of
from factory.discovery.mining import END, START, Parts, Prompt, size
from factory.discovery.skeletons import Skeleton, skeleton_from_json, variable_part
from factory.messages import Json, variable_text

NUMBER = "0"  # what `words_of` makes of numbers
NAMED = 12  # characters of a template's signature, enough to tell it from others


class Templates:
    """The prompts of one workload: what of an input is not theirs.

    Where constants stand in the user's turns, or slots in the instructions, the values of the slots
    are what varies; elsewhere all that was said but the instructions.
    """

    def __init__(self, skeletons: Iterable[Json] = ()) -> None:
        known = [skeleton_from_json(skeleton) for skeleton in skeletons]
        # The most constants first: an input that follows two is of the narrower one.
        self._templates = sorted(filter(_says_more, known), key=lambda s: (-s.size, s.signature))

    def text(self, messages: list[Json]) -> str:
        """Return an input's variable part."""
        return self._read(messages)[1]

    def slots(self, messages: list[Json]) -> list[str]:
        """Return what an input has in its template's slots, none where it follows none."""
        prompt = Prompt(messages)
        follows = (one for one in self._templates if one.follows(prompt))
        template = next(follows, None)
        return variable_part(template, messages) if template else []

    def words(self, messages: list[Json]) -> Sequence[str]:
        """Return the words of an input's variable part, its template's name before them.

        So two inputs of one wording are compared by their slots, and two wordings with short
        values in their slots stay apart. Numbers count where there is nothing else.
        """
        template, text = self._read(messages)
        words: Sequence[str] = words_of(text)
        if set(words) == {NUMBER}:
            words = text.split()
        return [template[:NAMED], *words] if template else words

    def _read(self, messages: list[Json]) -> tuple[str, str]:
        if self._templates:
            prompt = Prompt(messages)
            for template in self._templates:
                if template.follows(prompt):
                    said = "\n".join(filter(None, variable_part(template, messages)))
                    # Where only what is masked varies (numbers, dates), all that was said counts.
                    return template.signature, said or variable_text(messages)
        return "", variable_text(messages)


def _says_more(skeleton: Skeleton) -> bool:
    """Tell whether a skeleton's slots are not simply the turns."""
    return bool(skeleton.parent) and (size(skeleton.turns) > 0 or _has_slots(skeleton.system))


def _has_slots(parts: Parts) -> bool:
    return bool(parts) and not (
        len(parts) == 1 and parts[0].startswith(START) and parts[0].endswith(END)
    )
