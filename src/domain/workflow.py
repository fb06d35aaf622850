"""``LLMInferenceWorkflow``: the class to subclass for a model with pre- and postprocessing of one's own.

Life cycle::

    __init__(*args, **kwargs)        once, with the arguments from the settings
    bind(ports)                      once, by the service
    setup()                          once, before the first request; an error stops start-up
    preprocess(request) ─► generate(prompt) ─► postprocess(generation, request)     per request
                      └──► stream(prompt)                                           per stream
    close()                          once, at shutdown

The hooks may be overridden, each as a plain or an ``async`` method. A plain one runs in a thread, so it may
block. One instance serves all requests at once: what belongs to a request goes from hook to hook as an
argument, not into ``self``. A request for a stream takes ``stream(prompt)`` in place of ``generate`` and
``postprocess``.

An ``InvalidRequestError`` raised by a hook is the caller's 400; any other error is a 500 that names the hook.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from domain.chain import ChainFormat
from domain.conversation import conversation_of
from domain.errors import BackendError, NotSupportedError
from domain.generation import Capability, Generation, SamplingParameters, TokenChunk
from domain.messages import Prompt
from domain.metering import current_meter
from domain.ports import DecisionHead, LabelScorer, Prover, TextEmbedder, TextGenerator
from domain.requests import LLMRequest

ResultT = TypeVar("ResultT")


def hook(method: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that may be overridden as a plain or an ``async`` one; type checkers accept both."""
    return method


@dataclass(frozen=True, slots=True)
class WorkflowPorts:
    """What the service hands to a workflow."""

    generator: TextGenerator
    label_scorer: LabelScorer | None
    """None when the backend has no ``Capability.LABEL_SCORES``."""
    embedder: TextEmbedder | None
    """None when the backend has no ``Capability.EMBEDDINGS``."""
    decision_head: DecisionHead | None
    """None when no head is configured."""
    prover: Prover | None
    """None when no circuit is configured."""
    default_parameters: SamplingParameters
    """How to sample when a request does not say."""
    loop: asyncio.AbstractEventLoop
    """The service's event loop, for ``LLMInferenceWorkflow.wait``."""


class LLMInferenceWorkflow:
    """A backend with its pre- and postprocessing.

    As it stands it sends the conversation of an ``LLMRequest`` to the service's model and returns the answer
    as a string.
    """

    request_type: ClassVar[type[BaseModel]] = LLMRequest
    """What ``data`` of a request must hold; ``preprocess`` gets an instance of it."""

    requires: ClassVar[frozenset[Capability]] = frozenset()
    """What the workflow needs of the service; one that lacks it is refused at start-up."""

    optional: ClassVar[frozenset[Capability]] = frozenset()
    """What the workflow uses where the service has it."""

    chain_format: ClassVar[ChainFormat] = ChainFormat()
    """How it talks to contracts, where the settings say nothing else."""

    _ports: WorkflowPorts

    def bind(self, ports: WorkflowPorts) -> None:
        """Take the service's ports; called once before ``setup``."""
        self._ports = ports

    @property
    def ports(self) -> WorkflowPorts:
        """The service's ports, from ``setup`` on."""
        return self._ports

    @hook
    def setup(self) -> Any:
        """Get ready: load files, warm up. Raise to stop start-up."""

    @hook
    def close(self) -> Any:
        """Release what ``setup`` took."""

    @hook
    async def preprocess(self, request: Any) -> Any:
        """Turn a request (an instance of ``request_type``) into what ``generate`` takes.

        The default wants an ``LLMRequest`` and makes a ``Prompt`` of its history and text.
        """
        if not isinstance(request, LLMRequest):
            raise NotSupportedError(
                f"{type(self).__name__} declares the request type {type(request).__name__}, "
                "so it must override preprocess",
            )
        return Prompt(
            conversation_of(request), self.ports.default_parameters.overridden_by(request.parameters)
        )

    @hook
    async def generate(self, prompt: Any) -> Any:
        """Run the model on what ``preprocess`` returned. The default completes a ``Prompt``."""
        return await self.complete(prompt)

    @hook
    async def postprocess(self, generation: Any, request: Any) -> Any:  # noqa: ARG002 - for overrides
        """Turn what ``generate`` returned into the reply: a string, or a dict that JSON can hold."""
        return generation.text

    @hook
    async def stream(self, prompt: Any) -> AsyncGenerator[str]:
        """Stream the answer to what ``preprocess`` returned, piece by piece; there is no postprocessing."""
        async with aclosing(self.ports.generator.generate(prompt)) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    yield chunk.text

    @property
    def streams_pieces(self) -> bool:
        """Whether ``stream`` gives the answer.

        A workflow with a way of its own to generate or postprocess gives it in one piece, unless it has a
        ``stream`` of its own.
        """
        own = type(self)
        base = LLMInferenceWorkflow
        is_plain = own.generate is base.generate and own.postprocess is base.postprocess
        return is_plain or own.stream is not base.stream

    def proves(self, *, is_required: bool) -> bool:
        """Tell whether a request makes a proof, given whether it asks for one."""
        return is_required or Capability.PROOFS in self.requires

    async def complete(self, prompt: Prompt) -> Generation:
        """Complete a prompt with the service's model."""
        return await collect(self.ports.generator.generate(prompt))

    def wait(self, call: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Make an asynchronous call from a plain hook and wait for it: ``self.wait(self.complete(prompt))``.

        Cancelled when the request is. Must not be called from an ``async`` hook.
        """
        future = asyncio.run_coroutine_threadsafe(call, self.ports.loop)
        bridged_calls = current_meter().bridged_calls
        bridged_calls.add(future)
        try:
            return future.result()
        finally:
            bridged_calls.discard(future)


async def collect(chunks: AsyncGenerator[TokenChunk]) -> Generation:
    """Join a stream of chunks into one answer.

    Raises:
        BackendError: the stream ended without its last chunk.
    """
    texts: list[str] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            texts.append(chunk.text)
            if chunk.finish_reason is not None and chunk.usage is not None:
                return Generation("".join(texts), chunk.finish_reason, chunk.usage)
    raise BackendError("the backend broke off before the end of the answer")
