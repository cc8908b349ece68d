"""Who is told of what, and whether they heard."""

import uuid
from urllib.parse import urlsplit

from django.db import models

from factory.models.project import Project


class Webhook(models.Model):
    """An address that is told of a project's events."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=500)
    events = models.JSONField(default=list)
    secret_ciphertext = models.TextField()
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.host

    @property
    def host(self) -> str:
        """What may be shown of it to anybody: the rest of an address may be a secret."""
        return urlsplit(self.url).netloc


class Delivery(models.Model):
    """One event on its way to one address; written with what it tells of, sent afterwards."""

    class Status(models.TextChoices):
        """Pending ones are tried until they are heard or time is up."""

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    # The message's name, the same at every attempt: receivers drop what they have had.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    data = models.JSONField()
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()  # whoever sends it moves this first, so nobody else does
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=models.Q(status="pending"),
                name="deliveries_due",
            ),
            models.Index(fields=["webhook", "-created_at"], name="deliveries_by_webhook"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.webhook_id}"
