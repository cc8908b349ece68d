"""Every error that crosses a door: what happened, whose move it is, and whether to try again.

One JSON shape for all of them, the one that OpenAI's clients already parse:
`{"error": {"message", "type", "param", "code", "retryable"}}`.
"""

from typing import ClassVar


class UnderstudyError(Exception):
    """The root: raised anywhere, rendered in one place per door (API, page, gateway, command)."""

    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.given_code = code

    def body(self) -> dict[str, dict[str, object]]:
        """Return the one error shape as a JSON-ready dict."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.given_code or self.code,
                "retryable": self.retryable,
            }
        }


class InvalidInput(UnderstudyError):
    """The caller sent something that can never work as it is."""

    code = "invalid_input"
    type = "invalid_request_error"
    http_status = 400


class NotAuthenticated(UnderstudyError):
    """No key, an unknown key, a revoked key or an expired one: all look alike."""

    code = "invalid_api_key"
    type = "authentication_error"
    http_status = 401


class NotFound(UnderstudyError):
    """Absent, or not the caller's to see: the two look alike on purpose."""

    code = "not_found"
    type = "invalid_request_error"
    http_status = 404


class Forbidden(UnderstudyError):
    """The caller may see it but not do this to it."""

    code = "forbidden"
    type = "permission_error"
    http_status = 403


class MethodNotAllowed(UnderstudyError):
    """The address is right, the verb is not."""

    code = "method_not_allowed"
    type = "invalid_request_error"
    http_status = 405


class Conflict(UnderstudyError):
    """Somebody else was first, or the thing is not in a state that allows this."""

    code = "conflict"
    type = "invalid_request_error"
    http_status = 409


class TooLarge(UnderstudyError):
    """The body is over the limit that the message names."""

    code = "request_too_large"
    type = "invalid_request_error"
    http_status = 413


class BudgetExceeded(UnderstudyError):
    """The next paid call could pass the budget, so it was not made."""

    code = "budget_exceeded"
    type = "insufficient_quota"
    http_status = 402


class UpstreamFailed(UnderstudyError):
    """The model behind us did not answer; trying again may help."""

    code = "upstream_failed"
    type = "api_error"
    http_status = 502
    retryable = True


class Unavailable(UnderstudyError):
    """A part of Understudy itself is away (the database, the broker); try again."""

    code = "unavailable"
    type = "server_error"
    http_status = 503
    retryable = True


class LeaseLost(UnderstudyError):
    """The job was given to another worker (a newer epoch); this worker must stop writing."""

    code = "lease_lost"
    http_status = 409


class JobCancelled(UnderstudyError):
    """Somebody asked the running job to stop."""

    code = "cancelled"
    http_status = 409


class JobPaused(UnderstudyError):
    """The running job stops until somebody lets it go on; the message says why."""

    code = "paused"
    http_status = 409


class JobWaits(UnderstudyError):
    """The running job has nothing to do until something outside is ready: it looks again later."""

    code = "waits"
    http_status = 409
