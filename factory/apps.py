"""The site's own app: capture and curate."""

from django.apps import AppConfig


class FactoryConfig(AppConfig):
    """Binds Celery when Django is ready, so that every package's `__init__` stays empty."""

    name = "factory"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the Celery app current, whoever starts Django."""
        from factory.celery import app  # Django must be ready first

        app.set_default()
