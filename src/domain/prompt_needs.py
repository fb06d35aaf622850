"""Refuses a prompt that asks for what the backend cannot or may not do, rather than let it be ignored."""

from domain.errors import FieldProblem, InvalidRequestError, NotSupportedError, PromptLimitError
from domain.generation import Capability
from domain.messages import Prompt
from domain.ports import TextGenerator


def refuse_unsupported(prompt: Prompt, generator: TextGenerator) -> None:
    """Raise ``NotSupportedError`` when the backend lacks what the prompt needs; names it."""
    missing = needs_of(prompt) - generator.capabilities
    if missing:
        names = ", ".join(sorted(capability.value for capability in missing))
        raise NotSupportedError(f"the backend of {generator.model.model_id} does not offer {names}")


def refuse_too_long(num_prompt_tokens: int, max_prompt_tokens: int | None) -> None:
    """Raise ``PromptLimitError`` when a prompt is longer than it may be; None: it may have any length."""
    if max_prompt_tokens is not None and num_prompt_tokens > max_prompt_tokens:
        raise PromptLimitError(num_prompt_tokens, max_prompt_tokens)


def refuse_long_answer(field: str, max_tokens: int | None, max_output_tokens: int | None) -> None:
    """Raise ``InvalidRequestError`` when a request's field asks for a longer answer than there may be."""
    if max_tokens is not None and max_output_tokens is not None and max_tokens > max_output_tokens:
        reason = f"is more than the {max_output_tokens} tokens that an answer may have here"
        raise InvalidRequestError(FieldProblem(field, reason))


def needs_of(prompt: Prompt) -> frozenset[Capability]:
    """Return what a backend must be able to do to answer a prompt."""
    needed = {
        Capability.LOGPROBS: prompt.parameters.top_logprobs is not None,
        Capability.CONSTRAINTS: prompt.parameters.constraint is not None,
        Capability.TEXT_PROMPTS: prompt.text is not None,
    }
    return frozenset(capability for capability, is_needed in needed.items() if is_needed)
