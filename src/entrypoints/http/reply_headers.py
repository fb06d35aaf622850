"""Response headers that say what an answer was made with."""

from urllib.parse import quote

from domain.generation import ModelDescription
from domain.jobs import StoredReply


def model_headers(model: ModelDescription) -> dict[str, str]:
    """Return the header that names the model."""
    return {"X-Model-Id": quote(model.model_id, safe="/:@._- ")}


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
