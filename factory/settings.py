"""All settings, from the environment only; a wrong value stops the start with a sentence.

Without any of them Understudy runs embedded: its own PostgreSQL, Redis and files under `var/`.
"""

import contextlib
import logging
import os
import secrets
from pathlib import Path

import django_stubs_ext
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from factory import embedded
from factory.capture.spool import Sync

django_stubs_ext.monkeypatch()  # lets Django's classes be written with their types

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_LENGTH = 32  # at least


def env_str(name: str, default: str = "") -> str:
    """Read `NAME`, or the content of the file that `NAME_FILE` points to."""
    path = os.environ.get(f"{name}_FILE")
    if path is None:
        return os.environ.get(name, default)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE={path} cannot be read: {error}") from error


def env_bool(name: str, *, default: bool) -> bool:
    """Read a yes/no setting; anything but true/false/1/0/yes/no stops the start."""
    text = os.environ.get(name, "true" if default else "false").lower()
    if text in {"1", "true", "yes"}:
        return True
    if text in {"0", "false", "no"}:
        return False
    raise ImproperlyConfigured(f"{name}={text!r} is neither true nor false")


def env_int(name: str, default: int, *, low: int, high: int) -> int:
    """Read a whole number between `low` and `high`, both allowed."""
    value = env_float(name, default, low=low, high=high)
    if not value.is_integer():
        raise ImproperlyConfigured(f"{name}={value} is not a whole number from {low} to {high}")
    return int(value)


def env_float(name: str, default: float, *, low: float, high: float) -> float:
    """Read a number between `low` and `high`, both allowed."""
    text = os.environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ImproperlyConfigured(f"{name}={text!r} is not a number from {low} to {high}")
    return value


def env_list(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list; empty items are left out."""
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def env_url(name: str, default: str, *schemes: str) -> str:
    """Read a URL (or `NAME_FILE`) that starts with one of the schemes; its text is not repeated."""
    url = env_str(name) or default
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ImproperlyConfigured(f"{name} must start with {':// or '.join(schemes)}://")
    return url


VAR_DIR = Path(os.environ.get("UNDERSTUDY_VAR", BASE_DIR / "var")).resolve()


def kept_secret(name: str) -> str:
    """Read a secret from the environment, else from `var/`, made there on first use (mode 0600)."""
    if given := env_str(name):
        return given
    path = VAR_DIR / "secrets" / name.lower()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = path.with_suffix(f".{os.getpid()}")
        made.touch(mode=0o600)
        made.write_text(secrets.token_urlsafe(48), encoding="ascii")
        with contextlib.suppress(FileExistsError):  # another process was first: its secret counts
            os.link(made, path)
        made.unlink()
    return path.read_text(encoding="ascii")


# --- where things are -----------------------------------------------------------------------------
# PostgreSQL is the one SQL dialect.
DATABASE_URL = env_url(
    "DATABASE_URL", embedded.database_url(VAR_DIR / "postgres"), "postgresql", "postgres"
)
BROKERS = ("redis", "rediss", "redis+socket", "amqp", "amqps")
BROKER_URL = env_url("BROKER_URL", embedded.broker_url(VAR_DIR / "redis"), *BROKERS)
STORAGE_URL = env_url("STORAGE_URL", (VAR_DIR / "storage").as_uri(), "file", "s3")
SPOOL_DIR = VAR_DIR / "spool"
JOBS_DIR = VAR_DIR / "jobs"
BASES_DIR = VAR_DIR / "bases"


def database(url: str) -> dict[str, object]:
    """Return Django's database dict for a libpq URL."""
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ImproperlyConfigured(f"DATABASE_URL cannot be parsed: {error}") from error
    known = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host"}
    rest = {k: v for k, v in given.items() if k not in {*known.values(), "port"}}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **{ours: str(given.get(theirs) or "") for ours, theirs in known.items()},
        "PORT": str(given.get("port") or ""),
        "OPTIONS": {"connect_timeout": 10, **rest},
        # No long-lived connections: under ASGI each thread would hold one for ever.
        "CONN_MAX_AGE": 0,
    }


DATABASES = {"default": database(DATABASE_URL)}

# --- the site -------------------------------------------------------------------------------------
DEBUG = env_bool("DEBUG", default=False)
SECRET_KEY = kept_secret("SECRET_KEY")
ENCRYPTION_KEY = kept_secret("ENCRYPTION_KEY")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")
BEHIND_TLS = env_bool("BEHIND_TLS", default=False)
if min(len(SECRET_KEY), len(ENCRYPTION_KEY)) < SECRET_LENGTH:
    raise ImproperlyConfigured(
        f"SECRET_KEY and ENCRYPTION_KEY need {SECRET_LENGTH} characters each"
    )
if "*" in ALLOWED_HOSTS and not DEBUG:
    raise ImproperlyConfigured("ALLOWED_HOSTS=* is refused: name the hosts that users type")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "factory.apps.FactoryConfig",
    "labeling.apps.LabelingConfig",
    "distill.apps.DistillConfig",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "factory.decorators.render_errors",
]
ROOT_URLCONF = "factory.urls"
ASGI_APPLICATION = "factory.asgi.application"
# Bare ASGI apps in front of Django, by dotted name (a later package may not be imported here):
# the first whose pattern matches "METHOD /path" answers. To make a chat completion is the
# gateway's; the stored ones, below the same path, are Django's.
ASGI_ROUTES = [
    (
        r"^(POST /v1/chat/completions$|\S+ /(v1/(?!chat/completions|files|fine_tuning)|metrics$))",
        "distill.gateway.application",
    ),
    (
        r"^\S+ /(api/(models|datasets)/|api/whoami-v2$|(datasets/)?[^/]+/[^/]+/(resolve|raw)/)",
        "distill.registry.hub.application",
    ),
    (r"^\S+ /artifacts/", "distill.registry.files.application"),
]
# What a side app opens when the server starts and closes when it stops: async context managers.
ASGI_LIFESPANS = ["distill.gateway.lifespan"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign_in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
WHITENOISE_USE_FINDERS = True  # no collectstatic step: the few files are served from the packages
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# Not Django's other one, which would write what somebody uploads to disk as it is.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# --- the browser's rules --------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = BEHIND_TLS
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
if BEHIND_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- jobs -----------------------------------------------------------------------------------------
JOB_LEASE_SECONDS = env_int("JOB_LEASE_SECONDS", 60, low=2, high=3600)
JOB_MAX_ATTEMPTS = env_int("JOB_MAX_ATTEMPTS", 3, low=1, high=20)
CELERY_BROKER_URL = BROKER_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A worker that is asked to end gives its tasks this long; what they had not finished goes on later.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_BEAT_SCHEDULE = {
    "sweep_jobs": {"task": "factory.sweep_jobs", "schedule": max(1.0, JOB_LEASE_SECONDS / 4)},
    # The shipper rings for it too; this is for when its bell was lost, and for other doors.
    "group_calls": {
        "task": "factory.group_calls",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    # What came before its other half: parts of traced calls, and feedback on calls to come.
    "settle_held": {"task": "factory.settle_held", "schedule": 30.0, "options": {"expires": 30}},
    "attach_feedback": {
        "task": "factory.attach_feedback",
        "schedule": 30.0,
        "options": {"expires": 30},
    },
    # The bell that a change rings may be lost, and later attempts have none.
    "send_webhooks": {
        "task": "factory.send_webhooks",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    # At night, and the months' tables long before they are needed. Both do twice what once does.
    "expire_calls": {"task": "factory.expire_calls", "schedule": crontab(hour="3", minute="17")},
    "sweep_ingest": {"task": "factory.sweep_ingest", "schedule": crontab(minute="23")},
    "tend_dictionaries": {"task": "factory.tend_dictionaries", "schedule": crontab(minute="41")},
}

# --- the edges ------------------------------------------------------------------------------------
MAX_BODY_BYTES = DATA_UPLOAD_MAX_MEMORY_SIZE = (
    env_int("MAX_BODY_MB", 16, low=1, high=512) * 1024 * 1024
)
# The spool between the gateway and the database: how large it may grow, and when a call is forced
# to disk ("off", "interval": every 50 ms, "wait": before its last byte leaves).
SPOOL_MAX_BYTES = env_int("SPOOL_MAX_MB", 10_240, low=256, high=1_000_000_000) * 1024 * 1024
CAPTURE_SYNC = env_str("CAPTURE_SYNC", Sync.INTERVAL)
if CAPTURE_SYNC not in set(Sync):
    raise ImproperlyConfigured(f"CAPTURE_SYNC={CAPTURE_SYNC!r} is not {', '.join(Sync)}")
MAX_IMPORT_BYTES = env_int("MAX_IMPORT_MB", 2048, low=1, high=1_000_000) * 1024 * 1024
# Patience with model servers: until a connection stands, an answer begins, its next piece comes;
# and until a student's answer begins, which the teacher may give in its place.
UPSTREAM_CONNECT_SECONDS = env_int("UPSTREAM_CONNECT_SECONDS", 10, low=1, high=120)
UPSTREAM_TIMEOUT_SECONDS = env_int("UPSTREAM_TIMEOUT_SECONDS", 600, low=1, high=3600)
UPSTREAM_IDLE_SECONDS = env_int("UPSTREAM_IDLE_SECONDS", 120, low=1, high=3600)
FALLBACK_AFTER_SECONDS = env_float("FALLBACK_AFTER_SECONDS", 30, low=0.1, high=3600)
METRICS_TOKEN = env_str("METRICS_TOKEN")  # without it, /metrics answers everybody
# Model servers on private addresses (vLLM, Ollama, llama-server): hosts that may be called although
# they are not public. Everything else private is refused.
PRIVATE_UPSTREAM_HOSTS = [host.lower() for host in env_list("PRIVATE_UPSTREAM_HOSTS")]
TRAINER_THREADS = env_int("TRAINER_THREADS", min(2, os.cpu_count() or 1), low=1, high=1024)
# What an hour of the machine costs that a student runs on: its cost per call follows from it.
STUDENT_USD_PER_HOUR = env_float("STUDENT_USD_PER_HOUR", 0.10, low=0.0, high=1000.0)
STUDENT_BASE = env_str("STUDENT_BASE", str(BASES_DIR / "tiny"))

LOG_LEVEL = env_str("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in logging.getLevelNamesMapping():
    raise ImproperlyConfigured(f"LOG_LEVEL={LOG_LEVEL!r} is not DEBUG, INFO, WARNING or ERROR")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {name: {"level": "WARNING"} for name in ("httpx2", "openai")},  # a line per call
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
}
