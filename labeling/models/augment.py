"""What a teacher was asked to make up, and what became of each draft."""

from django.db import models

from factory.models import Example
from labeling.models.label import LabelJob


class Augmentation(models.Model):
    """The plan of a label job of the kind `augment`."""

    job = models.OneToOneField(LabelJob, on_delete=models.CASCADE, related_name="augmentation")
    wanted = models.JSONField()  # {method: drafts}
    per_seed = models.PositiveSmallIntegerField()  # drafts asked for at once
    most_kept = models.PositiveIntegerField()  # by the share that synthetic rows may have
    # The set of answers, a student's mostly, whose wrong ones on held-out rows are to be filled.
    gaps = models.CharField(max_length=40, blank=True)
    gaps_name = models.CharField(max_length=160, blank=True)
    is_planned = models.BooleanField(default=False)
    is_withdrawn = models.BooleanField(default=False)  # its rows are discarded

    def __str__(self) -> str:
        return f"augmentation {self.job_id}"


class Seed(models.Model):
    """One question of an augmentation: a training row, and what is to be made of it."""

    class Method(models.TextChoices):
        """How new inputs come from old ones."""

        PARAPHRASE = "paraphrase", "the same in other words"
        RARE = "rare_label", "new inputs for the rarest answers"
        COUNTERFACTUAL = "counterfactual", "a small change that changes the answer"
        HARD = "hard_negative", "close to the border between two answers"
        GAP = "gap", "like what the student got wrong"

    job = models.ForeignKey(LabelJob, on_delete=models.CASCADE, related_name="seeds")
    number = models.PositiveIntegerField()
    method = models.CharField(max_length=16, choices=Method.choices)
    parent = models.ForeignKey(Example, on_delete=models.CASCADE, related_name="seeds")
    expected = models.TextField(blank=True)  # the answer that drafts must have
    against = models.TextField(blank=True)  # the answer that they come close to
    # Without an expected answer, any will do that all votes agree on and that is not the parent's.
    is_open = models.BooleanField(default=False)
    is_done = models.BooleanField(default=False)
    problem = models.TextField(blank=True)  # why it brought no drafts

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="one_seed_per_job_and_number")
        ]

    def __str__(self) -> str:
        return f"{self.method} of example {self.parent_id}"


class Draft(models.Model):
    """One input that a teacher made up: kept as an example, or why not."""

    class Status(models.TextChoices):
        """What became of it."""

        KEPT = "kept", "kept"
        COPY = "copy", "says what is there already"
        LEAK = "leak", "too near to a held-out row"
        OFF_LABEL = "off_label", "read blind, it got another answer"
        UNSURE = "unsure", "the votes on it disagree"
        MISSHAPEN = "misshapen", "empty, or far longer than its parent"
        SURPLUS = "surplus", "beyond what synthetic rows may be"

    job = models.ForeignKey(LabelJob, on_delete=models.CASCADE, related_name="drafts")
    seed = models.ForeignKey(Seed, on_delete=models.CASCADE, related_name="drafts")
    text = models.TextField()
    answered = models.TextField(blank=True)  # what the teacher said when it read it blind
    status = models.CharField(max_length=12, choices=Status.choices)
    why = models.TextField(blank=True)
    example = models.OneToOneField(
        Example, on_delete=models.CASCADE, null=True, related_name="draft"
    )

    class Meta:
        indexes = [models.Index(fields=["job", "status", "id"], name="drafts_by_status")]

    def __str__(self) -> str:
        return f"{self.status} draft of seed {self.seed_id}"
