"""What an app said later about an answer, and what waits for the call that it is about."""

from django.db import models

from factory.models.call import CapturedCall
from factory.models.project import Project


class Feedback(models.Model):
    """One judgement of an answer; the same app's later word on the same thing replaces it.

    It may come before its call, which takes its way through a spool: until then it has none.
    """

    class Kind(models.TextChoices):
        """The shape of `value`."""

        BOOLEAN = "boolean"
        SCORE = "score"
        COMMENT = "comment"
        DEMONSTRATION = "demonstration"

    project = models.ForeignKey(Project, models.CASCADE, related_name="feedback")
    call = models.ForeignKey(
        CapturedCall, models.CASCADE, related_name="feedback", null=True, db_constraint=False
    )
    reference = models.CharField(max_length=128)  # the id that the app gave for the call
    kind = models.CharField(max_length=16, choices=Kind.choices)
    name = models.CharField(max_length=64, blank=True)  # tells several of one kind apart
    value = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["call", "kind", "name"],
                condition=models.Q(call__isnull=False),
                name="one_word_per_call",
            ),
            models.UniqueConstraint(
                fields=["project", "reference", "kind", "name"],
                condition=models.Q(call=None),
                name="one_word_per_awaited_call",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} on {self.reference}"
