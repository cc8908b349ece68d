"""Thirty reviewers at once over HTTP: nothing is decided too often, too rarely, or held dead."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import uvicorn
from django.contrib.auth.models import User

from factory.asgi import application
from factory.models import Membership, Project, Workload
from factory.services.keys import create_key
from factory.services.projects import add_member
from labeling.models import ReviewItem
from labeling.selectors.review import standing_reviews
from labeling.services.queue import set_policy
from labeling.services.review import queue_review
from tests.conftest import MakeExample
from tests.crowd import Crowd

ITEMS = 300  # `benchmarks/reviewers.py` does it with 5,000
REVIEWERS = 30
OVERLAP = 2
LEASE_SECONDS = 5
SLACK_SECONDS = 10.0  # of a busy machine


@pytest.fixture
def site(transactional_db: None) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def test_thirty_reviewers_decide_every_item_exactly_as_often_as_is_wanted(
    site: str, project: Project, workload: Workload, make_example: MakeExample
) -> None:
    for n in range(ITEMS):
        make_example(f"ticket {n}", split="test")
    set_policy(workload, wanted=OVERLAP, lease_seconds=LEASE_SECONDS)
    queue_review(workload, suspicious=0)
    names = [f"reviewer{n}" for n in range(REVIEWERS)]
    for name in names:
        add_member(project, User.objects.create_user(name), Membership.Role.REVIEWER)
    _, key = create_key(project, name="k", scopes=["api"])

    crowd = Crowd(site, key, workload.slug)
    crowd.review(names, deserters=set(names[:3]))

    assert crowd.refused == []
    said = Counter(standing_reviews(workload).values_list("item", flat=True))
    assert set(said.values()) == {OVERLAP}
    assert len(said) == ITEMS
    assert len(set(standing_reviews(workload).values_list("item", "reviewer"))) == ITEMS * OVERLAP
    assert set(ReviewItem.objects.values_list("status", "given")) == {("done", OVERLAP)}
    delays = crowd.delays(LEASE_SECONDS)
    assert len(delays) == 3
    assert max(delays) < SLACK_SECONDS
