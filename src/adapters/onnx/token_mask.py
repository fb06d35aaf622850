"""Takes the tokens that may not come next out of a row of logits."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1, bitorder="little")
_ADDENDS = np.where(_BITS, np.float32(0), np.float32(-np.inf))
"""``float32[256, 8]``: what a byte of a mask adds to the logits of its eight tokens."""


class AllowedTokens(Protocol):
    """Tells which tokens may come next."""

    def allows(self, token_id: int) -> bool:
        """Whether this token may, at a fraction of the cost of ``fill``."""
        ...

    def fill(self, mask: npt.NDArray[np.uint8]) -> None:
        """Write which tokens may into ``uint8[n]``: token i into bit ``i % 8`` of byte ``i // 8``."""
        ...


def mask_rows(
    logits: npt.NDArray[np.float32], allowed: Sequence[AllowedTokens | None], are_greedy: Sequence[bool]
) -> None:
    """Set the logits of tokens that may not come next to -inf, in place.

    Args:
        logits: ``float32[rows, vocab]``, finite, penalties applied.
        allowed: one for each row; None leaves the row alone.
        are_greedy: of each row, whether only its likeliest token is wanted; where that one may come next,
            the row is left alone, which saves most of the time.
    """
    vocab_size = logits.shape[-1]
    mask = np.empty((vocab_size + 31) // 32 * 4, np.uint8)
    for row, own, is_greedy in zip(logits, allowed, are_greedy, strict=True):
        if own is None or (is_greedy and own.allows(int(row.argmax()))):
            continue
        own.fill(mask)
        np.add(row, _ADDENDS.take(mask, axis=0).reshape(-1)[:vocab_size], out=row)
