"""Leases: who has which item on a screen, for minutes. Callers hold the item's lock."""

from django.contrib.auth.models import User
from django.db.models import BooleanField, Exists, ExpressionWrapper, Q
from django.db.models.functions import Now

from factory.selectors import CountRows
from factory.services.jobs import in_future
from labeling.models import ReviewItem, ReviewLease
from labeling.selectors.queue import live_leases
from labeling.selectors.review import VERDICTS

IS_LIVE = ExpressionWrapper(Q(until__gt=Now()), output_field=BooleanField())


def lease(item: ReviewItem, user: User, seconds: float, *, is_probe: bool = False) -> ReviewItem:
    """Give an item to a reviewer for so long from now; return it."""
    ReviewLease.objects.bulk_create(
        [ReviewLease(item=item, reviewer=user, until=in_future(seconds), is_probe=is_probe)],
        update_conflicts=True,
        unique_fields=["item", "reviewer"],
        update_fields=["until", "is_probe"],
    )
    return item


def has_room(item: ReviewItem, user: User) -> bool:
    """Tell whether an open item has a place for a reviewer who has not decided it.

    Asked again behind the lock: a lease may have been given since the item was found.
    """
    standing = item.reviews.filter(undone_by=None, probe="", decision__in=VERDICTS)
    mine = standing.filter(reviewer=user).values("id")
    busy = live_leases().filter(item=item).exclude(reviewer=user).values("id")
    taken = ReviewItem.objects.filter(pk=item.pk).values_list(CountRows(busy), Exists(mine))
    others, has_decided = taken.get()
    return item.given + others < item.wanted and not has_decided
