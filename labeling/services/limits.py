"""The minute of an endpoint, shared by all workers of the installation.

A worker takes its share in lots of a quarter of a second: one UPDATE moves the time up to which
the minute is given away, and says when the lot begins. There is no clock but the database's.
"""

import asyncio

from asgiref.sync import sync_to_async
from django.db import connection

from labeling.models import RateLimit, Teacher

LOT_SECONDS = 0.25
_TAKE = """
    UPDATE labeling_ratelimit AS had SET
        requests_until = greatest(had.requests_until, clock_timestamp())
            + make_interval(secs => %(requests_seconds)s),
        tokens_until = greatest(had.tokens_until, clock_timestamp())
            + make_interval(secs => %(tokens_seconds)s)
    WHERE had.id = %(id)s
    RETURNING extract(epoch FROM greatest(
        had.requests_until - make_interval(secs => %(requests_seconds)s),
        had.tokens_until - make_interval(secs => %(tokens_seconds)s),
        had.closed_until
    ) - clock_timestamp())
"""
_CLOSE = """
    UPDATE labeling_ratelimit
    SET closed_until = greatest(closed_until, clock_timestamp() + make_interval(secs => %s))
    WHERE id = %s
"""
_CLOSED_FOR = """
    SELECT extract(epoch FROM closed_until - clock_timestamp()) FROM labeling_ratelimit
    WHERE id = %s
"""


class SharedLimit:
    """One worker's view of a model's limits; made where the database may be used."""

    def __init__(self, teacher: Teacher) -> None:
        self.per_minute = teacher.requests_per_minute
        self.tokens_per_minute = teacher.tokens_per_minute
        row, _ = RateLimit.objects.get_or_create(upstream=teacher.upstream, model=teacher.model)
        self.row_id = row.pk
        self._requests = 0.0
        self._tokens = 0.0
        self._lock = asyncio.Lock()

    async def admit(self, tokens: int) -> None:
        """Return when a request of so many tokens may go out."""
        if self.per_minute is None and self.tokens_per_minute is None:
            return
        async with self._lock:
            if not self._holds(tokens):
                wait = await sync_to_async(self._take)(tokens)
                await asyncio.sleep(max(0.0, wait))
            self._requests -= 1
            self._tokens -= tokens

    def settle(self, tokens: int, used: int) -> None:
        """Take back what a request was admitted with and did not use."""
        self._tokens += tokens - used

    def _holds(self, tokens: int) -> bool:
        has_request = self.per_minute is None or self._requests >= 1
        return has_request and (self.tokens_per_minute is None or self._tokens >= tokens)

    def _take(self, tokens: int) -> float:
        more_requests = more_tokens = 0.0
        if self.per_minute is not None and self._requests < 1:
            more_requests = max(1.0, self.per_minute / 60 * LOT_SECONDS)
        if self.tokens_per_minute is not None and self._tokens < tokens:
            lot = self.tokens_per_minute / 60 * LOT_SECONDS
            more_tokens = max(tokens - self._tokens, lot)
        self._requests += more_requests
        self._tokens += more_tokens
        seconds = {
            "requests_seconds": more_requests * 60 / self.per_minute if self.per_minute else 0.0,
            "tokens_seconds": more_tokens * 60 / self.tokens_per_minute
            if self.tokens_per_minute
            else 0.0,
        }
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, {**seconds, "id": self.row_id})
            return float(cursor.fetchone()[0])

    def close(self, seconds: float) -> None:
        """Tell all workers that the endpoint wants no request for so long."""
        with connection.cursor() as cursor:
            cursor.execute(_CLOSE, [seconds, self.row_id])

    def closed_for(self) -> float:
        """Return for how long some worker was told to send nothing; negative where it is over."""
        with connection.cursor() as cursor:
            cursor.execute(_CLOSED_FOR, [self.row_id])
            return float(cursor.fetchone()[0])
