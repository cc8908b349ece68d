"""Calls that were answered but could not be kept whole, as the shippers report them."""

from django.db import models

ROOM = "See that the shipper runs and reaches the database, free disk or raise SPOOL_MAX_MB."
A_FAULT = "The gateway's log names the error: report it."
ADVICE = {
    "spool_full": ROOM,
    "texts": ROOM,
    "disk": "Free room on the spool's disk, and see that the gateway may write there.",
    "redaction": A_FAULT,
    "record": A_FAULT,
    "no_json": "They held what JSON has no form for: look at what the app sends.",
    "damaged": "Power went or the disk fails: check the disk; CAPTURE_SYNC=wait loses none.",
    "refused": "The shipper's log says why: mend that, then run manage.py ship_calls --retry-dead.",
}


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
        RECORD = "record", "writing them failed"
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
