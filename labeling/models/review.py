"""What people say about examples."""

from django.conf import settings
from django.db import models

from factory.models import Example, Workload


class ReviewItem(models.Model):
    """An example that waits for a person."""

    class Reason(models.TextChoices):
        """Why a person should look."""

        SUSPICIOUS = "suspicious", "its label is likely to be wrong"
        UNSURE = "unsure", "the teacher's votes disagree"
        INVALID = "invalid", "the teacher's answer breaks the format"
        AUDIT = "audit", "drawn at random, to measure the rest"

    class Status(models.TextChoices):
        """Open items wait; done ones were decided."""

        OPEN = "open"
        DONE = "done"

    example = models.OneToOneField(Example, on_delete=models.CASCADE, related_name="review_item")
    workload = models.ForeignKey(Workload, on_delete=models.CASCADE, related_name="review_items")
    reason = models.CharField(max_length=12, choices=Reason.choices)
    priority = models.FloatField(default=0.0)  # 0 to 1, the most suspicious first
    # A number that the row's digest alone decides: those that have one were drawn at random, for
    # whatever reason they are in the queue, and measure the rest.
    draw = models.FloatField(null=True, blank=True)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    leased_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["workload", "-priority", "id"],
                condition=models.Q(status="open"),
                name="review_queue",
            )
        ]

    def __str__(self) -> str:
        return f"review of {self.example_id}"


class Review(models.Model):
    """One decision, kept for ever; undoing it is another event."""

    class Decision(models.TextChoices):
        """What the reviewer did; undo names the review that it takes back."""

        ACCEPT = "accept"
        EDIT = "edit"
        REJECT = "reject"
        SKIP = "skip"
        UNDO = "undo"

    # The browser makes the id, so a decision sent twice is one decision.
    id = models.UUIDField(primary_key=True)
    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews"
    )
    decision = models.CharField(max_length=8, choices=Decision.choices)
    output = models.TextField(blank=True)
    note = models.TextField(blank=True)
    seconds = models.FloatField(default=0.0)
    # The example as it was before, so that undo restores exactly that.
    before = models.JSONField(default=dict)
    undoes = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, related_name="undone_by"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["reviewer", "-created_at"], name="reviews_by_person")]

    def __str__(self) -> str:
        return f"{self.decision} by {self.reviewer_id}"
