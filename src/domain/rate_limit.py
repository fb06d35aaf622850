"""How much a caller may ask in a minute: of requests, and of tokens, which are settled after an answer.

Each limit is a token bucket (in the sense of networks): it holds a minute's worth, and fills evenly.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domain.errors import RateLimitError
from domain.generation import Usage

MINUTE_S = 60.0


class Allowance:
    """What is left of one limit; below zero it is a debt.

    Args:
        per_minute: what comes in, evenly, and what there may be at most.
        now_s: when it begins, full.
    """

    def __init__(self, per_minute: float, now_s: float) -> None:
        self._per_minute = per_minute
        self._left = per_minute
        self._seen_s = now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return the seconds until ``amount`` is there, or all there may be; 0 where it is."""
        missing = min(amount, self._per_minute) - self._left_at(now_s)
        return max(0.0, missing) * MINUTE_S / self._per_minute

    def spend(self, amount: float, now_s: float) -> None:
        """Take ``amount``, whether it is there or not."""
        self._left = self._left_at(now_s) - amount
        self._seen_s = max(self._seen_s, now_s)

    def _left_at(self, now_s: float) -> float:
        come_in = max(0.0, now_s - self._seen_s) * self._per_minute / MINUTE_S
        return min(self._per_minute, self._left + come_in)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Of one caller; None: no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Of prompts and answers together."""

    def share(self, num_workers: int) -> "RateLimit":
        """Return what each of several processes grants, which know nothing of one another."""
        requests, tokens = self.requests_per_minute, self.tokens_per_minute
        return RateLimit(
            None if requests is None else requests / num_workers,
            None if tokens is None else tokens / num_workers,
        )


class RateLimits:
    """Those of all callers, in this process.

    Args:
        limits: by owner; who is not there has none.
        now: seconds of a clock that never jumps.
    """

    def __init__(self, limits: Mapping[str, RateLimit], now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        now_s = now()
        self._requests = {
            owner: Allowance(limit.requests_per_minute, now_s)
            for owner, limit in limits.items()
            if limit.requests_per_minute is not None
        }
        self._tokens = {
            owner: Allowance(limit.tokens_per_minute, now_s)
            for owner, limit in limits.items()
            if limit.tokens_per_minute is not None
        }

    def admit(self, owner: str) -> None:
        """Count a request.

        Raises:
            RateLimitError: there were too many, or the tokens of those before are not made up for.
        """
        now_s = self._now()
        requests, tokens = self._requests.get(owner), self._tokens.get(owner)
        if tokens is not None and (wait_s := tokens.wait_s(0, now_s)) > 0:
            raise RateLimitError("this token has used its tokens per minute", math.ceil(wait_s))
        if requests is None:
            return
        if (wait_s := requests.wait_s(1, now_s)) > 0:
            raise RateLimitError("this token has made its requests per minute", math.ceil(wait_s))
        requests.spend(1, now_s)

    def settle(self, owner: str, usage: Usage) -> None:
        """Count the tokens of an answer."""
        tokens = self._tokens.get(owner)
        if tokens is not None:
            tokens.spend(usage.num_prompt_tokens + usage.num_completion_tokens, self._now())
