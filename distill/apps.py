"""Train, evaluate, publish and serve."""

from django.apps import AppConfig


class DistillConfig(AppConfig):
    """Train, evaluate, publish and serve."""

    name = "distill"
    default_auto_field = "django.db.models.BigAutoField"
