"""Refuses a prompt that asks for what the backend cannot do, rather than let it be ignored."""

from domain.errors import NotSupportedError
from domain.generation import Capability
from domain.messages import Prompt
from domain.ports import TextGenerator


def refuse_unsupported(prompt: Prompt, generator: TextGenerator) -> None:
    """Raise ``NotSupportedError`` when the backend lacks what the prompt needs; names it."""
    missing = needs_of(prompt) - generator.capabilities
    if missing:
        names = ", ".join(sorted(capability.value for capability in missing))
        raise NotSupportedError(f"the backend of {generator.model.model_id} does not offer {names}")


def needs_of(prompt: Prompt) -> frozenset[Capability]:
    """Return what a backend must be able to do to answer a prompt."""
    needed = {
        Capability.LOGPROBS: prompt.parameters.top_logprobs is not None,
        Capability.CONSTRAINTS: prompt.parameters.constraint is not None,
        Capability.TEXT_PROMPTS: prompt.text is not None,
    }
    return frozenset(capability for capability, is_needed in needed.items() if is_needed)
