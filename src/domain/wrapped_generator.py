"""``WrappedTextGenerator``: what wrappers of a backend leave to it."""

from typing import Generic, TypeVar

from domain.generation import Capability, ModelDescription
from domain.ports import TextGenerator

GeneratorT = TypeVar("GeneratorT", bound=TextGenerator)


class WrappedTextGenerator(Generic[GeneratorT]):
    """A ``TextGenerator`` but for its calls, which a wrapper makes its own.

    Args:
        generator: the backend, or another wrapper.
    """

    def __init__(self, generator: GeneratorT) -> None:
        self._generator = generator

    @property
    def model(self) -> ModelDescription:
        return self._generator.model

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._generator.capabilities

    async def open(self) -> None:
        await self._generator.open()

    async def close(self) -> None:
        await self._generator.close()

    async def ping(self) -> None:
        await self._generator.ping()
