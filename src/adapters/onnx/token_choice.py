"""Which token each answer goes on with, and how likely it was, where that is asked for."""

from adapters.onnx.logprobs import TokenTexts, token_logprobs
from adapters.onnx.sampler import Floats, sample_rows
from adapters.onnx.sequence import Sequence
from domain.generation import TokenLogprob


def choose_tokens(
    rows: list[Sequence], logits: Floats, texts: TokenTexts
) -> list[tuple[int, TokenLogprob | None]]:
    """Return the next token of each row, with its log probability where the row wants it.

    Args:
        rows: answers under way.
        logits: ``float32[rows, vocab]``; are changed.
        texts: what tokens read as.
    """
    wanted = [index for index, row in enumerate(rows) if row.wants_logprobs]
    model_logits = logits[wanted] if wanted else None  # a copy: the sampler changes them
    token_ids = sample_rows(logits, [row.sampling for row in rows])
    if model_logits is None:
        return [(token_id, None) for token_id in token_ids]
    logprobs = token_logprobs(
        model_logits,
        [token_ids[index] for index in wanted],
        [rows[index].sampling.parameters.top_logprobs or 0 for index in wanted],
        texts,
    )
    of_row = dict(zip(wanted, logprobs, strict=True))
    return [(token_id, of_row.get(index)) for index, token_id in enumerate(token_ids)]
