"""Who may come in: a bound on requests and on tokens, applied before any work is done for a request.

A prompt has at most as many tokens as bytes, so its length bounds it before it is tokenised; the bound is
corrected once the tokens are counted.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from domain.errors import OverloadedError

MAX_RETRY_AFTER_S = 60
LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many may be inside."""

    max_running: int
    """Requests that are answered at once; they do not wait."""
    max_waiting: int
    """Requests beyond."""
    max_waiting_tokens: int
    """Of prompts that wait for the first token of their answer; one request is let in whatever its length."""


class Admission:
    """Counts those inside, and of them those that wait for their first token; used by one thread alone.

    Args:
        limits: on them.
        now: seconds of a clock that never jumps.
    """

    def __init__(self, limits: AdmissionLimits, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._num_inside = 0
        self._num_tokens = 0
        self._waiting: dict[Ticket, float] = {}
        """Since when, the oldest first."""
        self._began_s: float | None = None
        self._request_s = 0.0

    def enter(self, num_bytes: int) -> "Ticket":
        """Let a prompt of this many bytes in.

        Raises:
            OverloadedError: there is no room; says when to come back.
        """
        limits = self._limits
        is_full = self._num_inside >= limits.max_running + limits.max_waiting
        if is_full or (self._waiting and self._num_tokens + num_bytes > limits.max_waiting_tokens):
            raise OverloadedError(
                f"{len(self._waiting)} requests are already waiting", retry_after_s=self._retry_after_s()
            )
        ticket = Ticket(self, num_bytes)
        self._num_inside += 1
        self._num_tokens += num_bytes
        self._waiting[ticket] = self._now()
        return ticket

    @property
    def oldest_wait_s(self) -> float:
        """How long the one who has waited longest waits; 0 where nobody does."""
        return self._now() - next(iter(self._waiting.values())) if self._waiting else 0.0

    def corrected(self, num_tokens: int) -> None:
        """Count tokens more, or less where negative."""
        self._num_tokens += num_tokens

    def began(self, ticket: "Ticket", num_tokens: int) -> None:
        """Count one that waits less, and its tokens."""
        del self._waiting[ticket]
        now_s = self._now()
        if self._began_s is not None:
            self._request_s += LEARNING_RATE * (now_s - self._began_s - self._request_s)
        self._began_s = now_s if self._waiting else None  # the time between two says nothing when idle
        self._num_tokens -= num_tokens

    def left(self) -> None:
        """Count one less inside."""
        self._num_inside -= 1

    def _retry_after_s(self) -> int:
        """Half the line will have gone by then."""
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(len(self._waiting) / 2 * self._request_s)))


class Ticket:
    """One request's place, from when it is let in until it is over. A context manager."""

    def __init__(self, admission: Admission, num_tokens: int) -> None:
        self._admission = admission
        self._num_tokens = num_tokens
        self._is_waiting = True
        self._is_inside = True

    def correct(self, num_tokens: int) -> None:
        """Put the number of tokens in the place of its bound."""
        if self._is_waiting:
            self._admission.corrected(num_tokens - self._num_tokens)
            self._num_tokens = num_tokens

    def begin(self) -> None:
        """The first token is there, or there will be none. May be called again."""
        if self._is_waiting:
            self._is_waiting = False
            self._admission.began(self, self._num_tokens)

    def leave(self) -> None:
        """The request is over. May be called again."""
        self.begin()
        if self._is_inside:
            self._is_inside = False
            self._admission.left()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
