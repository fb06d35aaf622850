"""From a prompt to the body of a request.

Fields beyond OpenAI's have vLLM's names; a server that does not know them ignores them. So whether regular
expressions, choices and grammars (``structured_outputs``) are kept to is up to the server; JSON schemas are
asked for in OpenAI's own way.
"""

from dataclasses import dataclass
from typing import Any

from domain.constraints import OutputConstraint
from domain.generation import SamplingParameters
from domain.messages import Prompt


@dataclass(frozen=True, slots=True)
class WireRequest:
    """What to send, and where."""

    is_chat: bool
    body: dict[str, Any]

    @property
    def path(self) -> str:
        """Below the base URL."""
        return "/chat/completions" if self.is_chat else "/completions"


def wire_request(prompt: Prompt, model_id: str) -> WireRequest:
    """Return the request for a streamed answer to a prompt."""
    parameters = prompt.parameters
    body: dict[str, Any] = {
        "model": model_id,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        **_optional(parameters),
        **_constraint(parameters.constraint),
    }
    if prompt.priority:
        body["priority"] = prompt.priority
    if prompt.text is not None:
        body["prompt"] = prompt.text
        if parameters.top_logprobs is not None:
            body["logprobs"] = parameters.top_logprobs
        return WireRequest(is_chat=False, body=body)
    body["messages"] = [{"role": m.role, "content": m.content} for m in prompt.messages]
    if parameters.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": parameters.top_logprobs}
    return WireRequest(is_chat=True, body=body)


def _optional(parameters: SamplingParameters) -> dict[str, Any]:
    """Return the fields that are not off; llama.cpp calls ``repetition_penalty`` ``repeat_penalty``."""
    fields: tuple[tuple[str, Any, Any], ...] = (
        ("max_tokens", parameters.max_tokens, None),
        ("seed", parameters.seed, None),
        ("stop", list(parameters.stop), []),
        ("top_k", parameters.top_k, 0),
        ("min_p", parameters.min_p, 0.0),
        ("repetition_penalty", parameters.repetition_penalty, 1.0),
        ("repeat_penalty", parameters.repetition_penalty, 1.0),
        ("presence_penalty", parameters.presence_penalty, 0.0),
        ("frequency_penalty", parameters.frequency_penalty, 0.0),
        ("ignore_eos", parameters.ignore_eos, False),
    )
    return {name: value for name, value, off in fields if value != off}


def _constraint(constraint: OutputConstraint | None) -> dict[str, Any]:
    match constraint:
        case None:
            return {}
        case OutputConstraint(json_schema=dict() as schema):
            form = {"name": "answer", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": form}}
        case OutputConstraint(regex=str() as regex):
            return {"structured_outputs": {"regex": regex}}
        case OutputConstraint(grammar=str() as grammar):
            return {"structured_outputs": {"grammar": grammar}}
        case _:
            return {"structured_outputs": {"choice": list(constraint.choices or ())}}
