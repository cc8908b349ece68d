"""Label and review."""

from django.apps import AppConfig


class LabelingConfig(AppConfig):
    """Label and review."""

    name = "labeling"
    default_auto_field = "django.db.models.BigAutoField"
