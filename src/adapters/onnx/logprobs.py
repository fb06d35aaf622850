"""How likely the model found the tokens that were chosen, and which others it found likely."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from adapters.onnx.sampler import Floats
from domain.generation import TokenLogprob


class TokenTexts(Protocol):
    """What tokens read as."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for; of a special token, its name's."""
        ...


def token_logprobs(
    logits: Floats, token_ids: Sequence[int], num_alternatives: Sequence[int], texts: TokenTexts
) -> list[TokenLogprob]:
    """Return the log probability of each row's token, and of as many of the likeliest as are asked for.

    Args:
        logits: ``float32[rows, vocab]``, as the model gave them.
        token_ids: chosen, one a row.
        num_alternatives: likeliest tokens to report, one number a row.
        texts: of the tokens.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalisers = np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64))

    def named(row: int, token_id: int) -> TokenLogprob:
        token_bytes = texts.token_bytes(token_id)
        logprob = float(shifted[row, token_id]) - float(normalisers[row])
        return TokenLogprob(token_bytes.decode(errors="replace"), token_bytes, logprob)

    result = []
    for row, (token_id, count) in enumerate(zip(token_ids, num_alternatives, strict=True)):
        chosen = named(row, token_id)
        alternatives: tuple[TokenLogprob, ...] = ()
        if count:
            likeliest = np.argpartition(shifted[row], -count)[-count:]
            order = np.lexsort((likeliest, -shifted[row, likeliest]))
            alternatives = tuple(named(row, int(other)) for other in likeliest[order])
        result.append(TokenLogprob(chosen.token, chosen.token_bytes, chosen.logprob, alternatives))
    return result
