"""What a trace shows of the engine's work for one request, from the times that its sequence has."""

import time

from adapters.onnx.sequence import Sequence, Work
from domain.tracing import Tracer


def trace_work(tracer: Tracer, work: Work) -> None:
    """Tell of a request that is over, or was left: how long it waited, was read, and was answered."""
    if work.submitted_s == 0:  # the engine has not taken it
        return
    ended_s = time.perf_counter()
    started_s = work.started_s
    tracer.record("queue", work.submitted_s, started_s or ended_s)
    if started_s is None:
        return
    first_token_s = work.first_token_s if isinstance(work, Sequence) else None
    num_tokens = len(work.prompt_ids)
    tracer.record(
        "prefill",
        started_s,
        first_token_s or ended_s,
        {"llm.prompt_tokens": num_tokens, "llm.cached_tokens": work.num_reused},
    )
    if isinstance(work, Sequence) and first_token_s is not None:
        tracer.record("decode", first_token_s, ended_s, {"llm.completion_tokens": len(work.output_ids)})
