"""Which split a new group goes to: stratified by label, and for good."""

import hashlib
from collections.abc import Mapping

STEP = (
    0.6180339887498949  # the golden ratio's fraction: any run of its multiples fills [0, 1) evenly
)


class Dealer:
    """Deals groups out, label by label, so that each label's shares come out as asked.

    The n-th group of a label lies at the fraction of start + n * STEP, where the start is the
    label's own: test takes the low end of [0, 1), validation the next part. After n groups each
    share is right to within about log(n) / n, and nothing that was dealt ever depends on what
    comes later. Changed shares hold for groups to come.
    """

    def __init__(
        self, salt: str, *, validation: float, test: float, dealt: Mapping[str, int]
    ) -> None:
        self.dealt = dict(dealt)  # how many groups, by label; to be kept for the next time
        self._salt, self._validation, self._test = salt, validation, test

    def deal(self, label: str) -> str:
        """Return "train", "validation" or "test" for the next group of a label."""
        count = self.dealt.get(label, 0)
        self.dealt[label] = count + 1
        start = (
            int.from_bytes(hashlib.sha256(f"{self._salt}:{label}".encode()).digest()[:8]) / 2**64
        )
        point = (start + count * STEP) % 1
        if point < self._test:
            return "test"
        return "validation" if point < self._test + self._validation else "train"
