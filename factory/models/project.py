"""Who may do what: projects, members, keys, and the model endpoints a project calls."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

# What every download client accepts as a namespace or a model name (Ollama's rule is narrowest).
slug_validator = RegexValidator(
    r"\A[a-z0-9]+([_-][a-z0-9]+)*\Z",
    "Use lower-case letters and digits, joined by single '-' or '_'.",
)

# Paths of the site that a project's address would hide behind.
RESERVED_SLUGS = {
    "admin", "api", "artifacts", "datasets", "healthz", "metrics", "readyz", "sign-in", "sign-out",
    "static", "v1", "v2",
}  # fmt: skip


def validate_not_reserved(slug: str) -> None:
    """Refuse a project address that the site itself answers at."""
    if slug in RESERVED_SLUGS:
        raise ValidationError("This address is taken by the site itself.")


class Project(models.Model):
    """A tenant: nothing of one project is ever visible from another."""

    slug = models.CharField(
        max_length=48, unique=True, validators=[slug_validator, validate_not_reserved]
    )
    name = models.CharField(max_length=200)
    # What is taken out of calls before they are written: `redact.Policy` as JSON.
    redaction = models.JSONField(default=dict, blank=True)
    # How long calls without a workload stay; a workload's have its own number of days.
    retention_days = models.PositiveIntegerField(default=90)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """A person's role in a project."""

    class Role(models.TextChoices):
        """Each role may do what the ones after it may."""

        OWNER = "owner"
        LEAD = "lead"
        REVIEWER = "reviewer"
        VIEWER = "viewer"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_role_per_member")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}: {self.role}"


class ApiKey(models.Model):
    """A key's public half: its prefix to tell it by, its sha256 to know it by, never the key."""

    class Scope(models.TextChoices):
        """What a key opens."""

        CAPTURE = "capture", "call models through the gateway"
        API = "api", "use the JSON API"
        DOWNLOAD = "download", "download published models"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.prefix}… {self.name}"


class Upstream(models.Model):
    """A model endpoint that speaks OpenAI's protocol: the production model's, or a teacher's."""

    class Dialect(models.TextChoices):
        """How its addresses are built and its key is sent."""

        OPENAI = "openai", "OpenAI and what is compatible with it"
        AZURE = "azure", "Azure OpenAI"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="upstreams")
    name = models.CharField(max_length=48, validators=[slug_validator])
    base_url = models.URLField(max_length=500)
    key_ciphertext = models.TextField(blank=True)
    is_default = models.BooleanField(default=False)
    dialect = models.CharField(max_length=8, choices=Dialect.choices, default=Dialect.OPENAI)
    api_version = models.CharField(max_length=32, blank=True)  # Azure's; blank is its v1 form
    # Names of models that go here, as patterns ("gpt-4*"); the default upstream takes the rest.
    model_patterns = models.JSONField(default=list, blank=True)
    # {"model": {"input": USD, "output": USD}} per million tokens.
    prices = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="upstream_name_per_project"),
            models.UniqueConstraint(
                fields=["project"],
                condition=models.Q(is_default=True),
                name="one_default_upstream_per_project",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project}/{self.name}"
