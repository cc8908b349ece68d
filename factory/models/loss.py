"""Calls that were answered but could not be kept whole, as the shippers report them."""

from django.db import models


class CaptureLoss(models.Model):
    """How many records one file of a host's spool is short of, for one reason."""

    class Reason(models.TextChoices):
        """Why; reasons of a later version are kept as they come."""

        SPOOL_FULL = "spool_full", "the spool was full"
        DISK = "disk", "the disk could not be written to"
        TEXTS = "texts", "kept without their texts, to save room"
        REDACTION = "redaction", "they could not be redacted"
        NO_JSON = "no_json", "they could not be written as JSON"
        DAMAGED = "damaged", "the spool's file was damaged or cut off"
        REFUSED = "refused", "set aside: the database refused them"

    host = models.CharField(max_length=255)
    # The file: a report that comes twice counts once.
    source = models.CharField(max_length=100)
    reason = models.CharField(max_length=32)
    count = models.PositiveBigIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["host", "source", "reason"], name="one_loss_per_file_and_reason"
            )
        ]

    def __str__(self) -> str:
        return f"{self.host} {self.reason}: {self.count}"
