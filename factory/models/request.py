"""Requests that name themselves, so that one sent again is answered and not done again."""

from django.db import models
from django.db.models.functions import Now

from factory.models.project import Project


class IdempotentRequest(models.Model):
    """A request's key, what it asked, and the answer that it got."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="idempotent_requests")
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)  # of the address and the body
    # Null while it is at work. Who claims it holds it until `lease_until`; then it was given up.
    answer = models.JSONField(null=True)
    lease_until = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "key"], name="one_request_per_key")
        ]
        indexes = [models.Index(fields=["created_at"], name="requests_by_age")]

    def __str__(self) -> str:
        return self.key
