"""The Celery app: it carries ids only and rings the bell; the rows are the truth."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "factory.settings")

app = Celery("understudy")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
