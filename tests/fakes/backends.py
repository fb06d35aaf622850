"""Backends that misbehave in ways the scripted one does not."""

import asyncio
from collections.abc import AsyncGenerator

from domain.errors import BackendError
from domain.generation import Capability, FinishReason, ModelDescription, TokenChunk, Usage
from domain.messages import Prompt


class BareTextGenerator:
    """Has no capability beyond generating, and answers one word."""

    capabilities: frozenset[Capability] = frozenset()
    model = ModelDescription("bare")

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def ping(self) -> None:
        return

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        yield TokenChunk("yes")
        yield TokenChunk("", FinishReason.STOP, Usage(1, 1))


class FailingTextGenerator(BareTextGenerator):
    """Breaks off after a word."""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        yield TokenChunk("almost")
        raise BackendError("the backend is unreachable")


class SilentTextGenerator(BareTextGenerator):
    """Ends without its last chunk."""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        yield TokenChunk("almost")


class EndlessTextGenerator(BareTextGenerator):
    """Never says a word; counts the calls under way."""

    num_running = 0

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        self.num_running += 1
        try:
            await asyncio.Event().wait()
            yield TokenChunk("never")
        finally:
            self.num_running -= 1
