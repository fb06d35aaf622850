"""Who may wait: a bound on requests and on tokens, applied before any work is done for a request.

A prompt has at most as many tokens as bytes, so its length bounds it before it is tokenised; the bound is
corrected once the tokens are counted.
"""

import math
import time
from collections.abc import Callable
from typing import Self

from domain.errors import OverloadedError

MAX_RETRY_AFTER_S = 60
LEARNING_RATE = 0.1


class Admission:
    """Counts those that wait for their first token; used by one thread alone.

    Args:
        max_requests: that may wait.
        max_tokens: of prompts that may wait, together; one request is let in whatever its length.
        now: seconds of a clock that never jumps.
    """

    def __init__(
        self, *, max_requests: int, max_tokens: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._now = now
        self._num_requests = 0
        self._num_tokens = 0
        self._left_s: float | None = None
        self._request_s = 0.0

    def enter(self, num_bytes: int) -> "Ticket":
        """Let a prompt of this many bytes in.

        Raises:
            OverloadedError: there is no room; says when to come back.
        """
        is_full = self._num_requests >= self._max_requests
        if is_full or (self._num_requests and self._num_tokens + num_bytes > self._max_tokens):
            raise OverloadedError(
                f"{self._num_requests} requests are already waiting", retry_after_s=self._retry_after_s()
            )
        return Ticket(self, num_bytes)

    def changed(self, num_requests: int, num_tokens: int) -> None:
        """Count requests and tokens that came, or left where negative."""
        if num_requests < 0:
            now_s = self._now()
            if self._left_s is not None:
                self._request_s += LEARNING_RATE * (now_s - self._left_s - self._request_s)
            self._left_s = (
                now_s if self._num_requests > 1 else None
            )  # the time between two says nothing when idle
        self._num_requests += num_requests
        self._num_tokens += num_tokens

    def _retry_after_s(self) -> int:
        """Half the line will have gone by then."""
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self._num_requests / 2 * self._request_s)))


class Ticket:
    """One request's place; leave it when the first token is there, or the request is over."""

    def __init__(self, admission: Admission, num_tokens: int) -> None:
        self._admission = admission
        self._num_tokens = num_tokens
        self._is_held = True
        admission.changed(1, num_tokens)

    def correct(self, num_tokens: int) -> None:
        """Put the number of tokens in the place of its bound."""
        if self._is_held:
            self._admission.changed(0, num_tokens - self._num_tokens)
            self._num_tokens = num_tokens

    def leave(self) -> None:
        """Give the place back. May be called twice."""
        if self._is_held:
            self._is_held = False
            self._admission.changed(-1, -self._num_tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
