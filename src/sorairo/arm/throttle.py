"""Throttling as ARM does it: a bucket of tokens per principal, subscription and kind of request.

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sorairo.arm.errors import throttled
from sorairo.arm.settings import Limits

KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
"""Everything else writes."""
REMEMBERED = 10_000
"""Buckets kept; the one longest unused goes first."""


@dataclass(frozen=True, slots=True)
class Size:
    tokens: float
    refill: float
    """Tokens per second."""


# Azure's, per subscription; a tenant's own requests have the same. Ours let a machine's own speed be the limit, and
# still stop a loop that has gone wild.
SIZES: dict[Limits, dict[str, Size]] = {
    "azure": {"reads": Size(250, 25), "writes": Size(200, 10), "deletes": Size(200, 10)},
    "generous": {"reads": Size(20_000, 5_000), "writes": Size(10_000, 2_000), "deletes": Size(10_000, 2_000)},
}


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Throttle:
    def __init__(self, limits: Limits = "generous", clock: Callable[[], float] = time.monotonic) -> None:
        self._sizes = SIZES[limits]
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str, str], _Bucket] = OrderedDict()

    def take(self, method: str, principal: str, subscription: str) -> tuple[str, str]:
        """Spend a token; the name and value of the header that says what is left. Raises Throttled."""
        kind = KINDS.get(method, "writes")
        size, now = self._sizes[kind], self._clock()
        key = (principal, subscription.lower(), kind)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(size.tokens, now)
            if len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        bucket.tokens = min(size.tokens, bucket.tokens + (now - bucket.at) * size.refill)
        bucket.at = now
        if bucket.tokens < 1:
            raise Throttled(kind, subscription, principal, (1 - bucket.tokens) / size.refill)
        bucket.tokens -= 1
        scope = "subscription" if subscription else "tenant"
        return f"x-ms-ratelimit-remaining-{scope}-{kind}", str(int(bucket.tokens))


class Throttled(Exception):
    """429, with what it is called and when to come back."""

    def __init__(self, kind: str, subscription: str, principal: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        self.error = throttled(kind.removesuffix("s"), subscription, principal, self.seconds)
        super().__init__(self.error.message)
