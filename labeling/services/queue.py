"""How a queue is worked through: by how many, by whom, and which parts of it have names."""

from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import transaction
from more_itertools import map_reduce

from factory.errors import Forbidden, InvalidInput, NotFound
from factory.models import Membership, Workload
from factory.selectors import RANK
from labeling.models import ReviewItem, ReviewPolicy, SavedView
from labeling.selectors.queue import EVERYTHING, QueueFilter, narrowed
from labeling.services.review import want

MOST_ASSIGNED = 100_000  # items at once
LONGEST_NAME = 80
Through = ReviewItem.assigned_to.through


@transaction.atomic
def set_policy(
    workload: Workload,
    *,
    wanted: int | None = None,
    probe_share: float | None = None,
    lease_seconds: int | None = None,
) -> ReviewPolicy:
    """Change what is given of a queue's policy; what nobody has decided yet follows it at once."""
    Workload.objects.select_for_update(no_key=True).get(pk=workload.pk)
    policy, _ = ReviewPolicy.objects.get_or_create(workload=workload)
    given = {"wanted": wanted, "probe_share": probe_share, "lease_seconds": lease_seconds}
    for name, value in given.items():
        if value is not None:
            setattr(policy, name, value)
    policy.full_clean(exclude=["workload"])
    policy.save()
    want(workload)
    return policy


@transaction.atomic
def assign(
    workload: Workload, users: Sequence[User], *, only: QueueFilter = EVERYTHING
) -> dict[str, int]:
    """Give what nobody has decided of a part of the queue to people, evenly, and to nobody else.

    Each item goes to as many of them as it wants. Without `users` it is everybody's again. Returns
    the numbers of items by username.
    """
    able = reviewers_of(workload)
    if strangers := [user.username for user in users if user not in able]:
        raise InvalidInput(f"no reviewers here: {', '.join(strangers)}", param="people")
    waiting = workload.review_items.filter(status=ReviewItem.Status.OPEN, given=0)
    found = list(narrowed(waiting, only).order_by("-priority", "id")[:MOST_ASSIGNED])
    most = max((item.wanted for item in found), default=0)
    if users and len(users) < most:
        raise InvalidInput(f"{most} people decide each item: name as many", param="people")
    Through.objects.filter(reviewitem__in=[item.pk for item in found]).delete()
    rows = []
    turn = 0
    for item in found if users else []:
        chosen = [users[(turn + n) % len(users)] for n in range(item.wanted)]
        rows += [Through(reviewitem_id=item.pk, user_id=user.pk) for user in chosen]
        turn += item.wanted
    Through.objects.bulk_create(rows, batch_size=5000)
    counts = map_reduce(rows, lambda row: row.user_id, reducefunc=len)
    return {user.username: counts.get(user.pk, 0) for user in users}


def reviewers_of(workload: Workload) -> list[User]:
    """Return who may decide in a workload."""
    members = Membership.objects.filter(project=workload.project_id)
    able = members.exclude(role=Membership.Role.VIEWER).select_related("user")
    return [member.user for member in able.order_by("user__username")]


def reviewer_named(workload: Workload, name: str, role: str = Membership.Role.REVIEWER) -> User:
    """Return the member of a workload's project by username, who has at least this role."""
    members = Membership.objects.filter(project=workload.project_id, user__username=name)
    member = members.select_related("user").first()
    if member is None:
        raise NotFound("There is no such member, or they are not yours to see.")
    if RANK[member.role] < RANK[role]:
        raise Forbidden(f"This needs the role {role}; {name}'s is {member.role}.")
    return member.user


def save_view(workload: Workload, user: User | None, *, name: str, only: QueueFilter) -> SavedView:
    """Keep a part of a queue under a name; the same name again is changed."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidInput("a view's name has 1 to 80 characters", param="name")
    if not only.said():
        raise InvalidInput("a view leaves something out: narrow the queue first", param="only")
    view, _ = SavedView.objects.update_or_create(
        workload=workload, name=name, defaults={"only": only.said(), "created_by": user}
    )
    return view


def delete_view(workload: Workload, name: str) -> None:
    """Forget a view's name; the queue stays as it is."""
    if not workload.saved_views.filter(name=name).delete()[0]:
        raise NotFound("There is no such view, or it is not yours to see.")
