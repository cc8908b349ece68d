"""What people say about examples, and who has which example on their screen."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from factory.models import Example, Workload

LEASE_SECONDS = 300
MOST_WANTED = 20  # reviewers per item
MOST_PROBED = 0.5  # of what a reviewer is shown


class ReviewPolicy(models.Model):
    """How a workload's queue is worked through; without a row, the defaults count."""

    workload = models.OneToOneField(
        Workload, on_delete=models.CASCADE, related_name="review_policy"
    )
    # How many people decide each item, none of them seeing another's answer.
    wanted = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MOST_WANTED)]
    )
    # The share of cards that show a settled row again: is the reviewer right, and the same twice?
    probe_share = models.FloatField(
        default=0.0, validators=[MinValueValidator(0.0), MaxValueValidator(MOST_PROBED)]
    )
    # How long a card may lie on a screen that is silent.
    lease_seconds = models.PositiveIntegerField(
        default=LEASE_SECONDS, validators=[MinValueValidator(1), MaxValueValidator(86_400)]
    )

    def __str__(self) -> str:
        return f"review of {self.workload}"


class ReviewItem(models.Model):
    """An example that waits for people, as many as `wanted`."""

    class Reason(models.TextChoices):
        """Why a person should look."""

        SUSPICIOUS = "suspicious", "its label is likely to be wrong"
        UNSURE = "unsure", "the teacher's votes disagree"
        INVALID = "invalid", "the teacher's answer breaks the format"
        AUDIT = "audit", "drawn at random, to measure the rest"

    class Status(models.TextChoices):
        """Open items wait for reviewers, disputed and flagged ones for a lead; done are settled."""

        OPEN = "open"
        DISPUTED = "disputed"
        FLAGGED = "flagged"
        DONE = "done"

    example = models.OneToOneField(Example, on_delete=models.CASCADE, related_name="review_item")
    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="review_items")
    reason = models.CharField(max_length=12, choices=Reason.choices)
    priority = models.FloatField(default=0.0)  # 0 to 1, the most suspicious first
    # A number that the row's digest alone decides: those that have one were drawn at random, for
    # whatever reason they are in the queue, and measure the rest.
    draw = models.FloatField(null=True, blank=True)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    wanted = models.PositiveSmallIntegerField(default=1)
    given = models.PositiveSmallIntegerField(default=0)  # standing verdicts of reviewers
    # The decision that changed the example; its `before` is what the example was.
    settled_by = models.OneToOneField(
        "Review", on_delete=models.SET_NULL, null=True, related_name="settled_item"
    )
    # Where somebody is named, nobody else gets it.
    assigned_to = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["workload", "-priority", "id"],
                condition=models.Q(status="open"),
                name="review_queue",
            ),
            models.Index(
                fields=["workload", "status", "id"],
                condition=models.Q(status__in=["disputed", "flagged"]),
                name="review_for_leads",
            ),
        ]

    def __str__(self) -> str:
        return f"review of {self.example_id}"


class ReviewLease(models.Model):
    """An item on one reviewer's screen, until a time; a probe is settled and shown again."""

    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="leases")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    until = models.DateTimeField()
    is_probe = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "reviewer"], name="one_lease_per_reviewer")
        ]

    def __str__(self) -> str:
        return f"{self.item_id} at {self.reviewer_id}"


class Review(models.Model):
    """One decision, kept for ever; undoing it is another event."""

    class Decision(models.TextChoices):
        """What the reviewer did; undo names the review that it takes back."""

        ACCEPT = "accept"
        EDIT = "edit"
        REJECT = "reject"
        SKIP = "skip"
        FLAG = "flag"
        UNDO = "undo"

    class Probe(models.TextChoices):
        """What a settled row that was shown again measures."""

        GOLD = "gold", "against what others settled"
        REPEAT = "repeat", "against the reviewer's own earlier decision"

    # The browser makes the id, so a decision sent twice is one decision.
    id = models.UUIDField(primary_key=True)
    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews"
    )
    decision = models.CharField(max_length=8, choices=Decision.choices)
    output = models.TextField(blank=True)
    reason = models.CharField(max_length=40, blank=True)  # of a reject or a flag, as on its chip
    note = models.TextField(blank=True)
    seconds = models.FloatField(default=0.0)
    # A lead's word, which counts for more than the reviewers'.
    is_authoritative = models.BooleanField(default=False)
    # Where the item was settled before: the decision measures the reviewer, and changes nothing.
    probe = models.CharField(max_length=8, choices=Probe.choices, blank=True)
    # The example as it was shown, so that undo restores exactly that; for a probe also "expected".
    before = models.JSONField(default=dict)
    undoes = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, related_name="undone_by"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["reviewer", "-created_at"], name="reviews_by_person")]

    def __str__(self) -> str:
        return f"{self.decision} by {self.reviewer_id}"


class SavedView(models.Model):
    """A part of a queue under a name, for everybody who reviews it."""

    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=80)
    only = models.JSONField(default=dict)  # `QueueFilter` without its empty fields
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workload", "name"], name="view_name_per_workload")
        ]

    def __str__(self) -> str:
        return self.name
