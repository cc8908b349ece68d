"""Calls of which only a part has come: a span without its messages, or messages without a span."""

from django.db import models

from factory.models.project import Project


class HeldSpan(models.Model):
    """The parts of one traced call so far, redacted, until the rest is there or is given up."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="held_spans")
    request_id = models.CharField(max_length=128)
    span = models.JSONField(null=True)
    events = models.JSONField(default=list)
    # [[kind, keyed hash of a value, placeholder], ...]: a value that is told of again, in another
    # part, gets the placeholder that it had.
    placeholders = models.JSONField(default=list)
    first_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "request_id"], name="held_span_per_call")
        ]
        indexes = [models.Index(fields=["first_at"], name="held_spans_by_age")]

    def __str__(self) -> str:
        return self.request_id
