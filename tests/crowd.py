"""Many reviewers at one queue over HTTP, some of whom vanish with a card in their hands."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

PAUSE_SECONDS = 0.2  # before somebody whose queue is empty asks again


@dataclass(frozen=True)
class Dealt:
    """A card that somebody got; the times are of this process's clock."""

    item: int
    reviewer: str
    at: float
    is_deserted: bool


@dataclass
class Crowd:
    """Reviewers of one workload, and what happened to them."""

    site: str
    key: str
    workload: str
    dealt: list[Dealt] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def review(self, names: list[str], deserters: set[str]) -> float:
        """Let all of them review at once until nothing is open; return the seconds it took."""
        began = time.monotonic()
        threads = [
            threading.Thread(target=self._one, args=(name, name in deserters)) for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - began

    def delays(self, term: float) -> list[float]:
        """Return how long after its term each deserted card was somebody else's, in seconds."""
        found = []
        for lost in (card for card in self.dealt if card.is_deserted):
            later = [
                card.at
                for card in self.dealt
                if card.item == lost.item and card.at > lost.at + term - 0.5
            ]
            found.append(min(later, default=float("inf")) - lost.at - term)
        return found

    def _one(self, name: str, is_deserter: bool) -> None:
        address = urlsplit(self.site)
        line = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        decided = 0
        while True:
            hand = self._post(line, "next", reviewer=name)
            if not hand["cards"]:
                why = hand["why"]
                if why["done"] + why["disputed"] == why["total"]:
                    return
                time.sleep(PAUSE_SECONDS)
                continue
            [card] = hand["cards"]
            leaves = is_deserter and decided == 3
            self.dealt.append(Dealt(card["id"], name, time.monotonic(), leaves))
            if leaves:
                return
            began = time.monotonic()
            self._post(
                line, f"items/{card['id']}/decide",
                reviewer=name, review_id=str(uuid4()), decision="accept",
            )  # fmt: skip
            self.latencies.append(time.monotonic() - began)
            decided += 1

    def _post(self, line: http.client.HTTPConnection, path: str, **body: Any) -> Any:
        line.request(
            "POST", f"/api/v1/workloads/{self.workload}/review/{path}", json.dumps(body),
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )  # fmt: skip
        response = line.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            self.refused.append(f"{response.status} {answer['error']['message']}")
        return answer
