"""Response headers that say what an answer was made with."""

from functools import lru_cache
from urllib.parse import quote

from domain.generation import ModelDescription
from domain.jobs import StoredReply


def model_headers(model: ModelDescription) -> dict[str, str]:
    """Return the header that names the model."""
    return {"X-Model-Id": _quoted(model.model_id)}


def reply_headers(model: ModelDescription, reply: StoredReply) -> dict[str, str]:
    """Return the headers of a whole answer: model, tokens, finish reason."""
    headers = {
        **model_headers(model),
        "X-Prompt-Tokens": str(reply.num_prompt_tokens),
        "X-Completion-Tokens": str(reply.num_completion_tokens),
    }
    if reply.finish_reason is not None:
        headers["X-Finish-Reason"] = reply.finish_reason
    return headers


@lru_cache
def _quoted(model_id: str) -> str:
    return quote(model_id, safe="/:@._- ")
