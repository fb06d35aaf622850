"""Runs the model itself, without a workflow, within the same bounds on time and concurrency."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from domain.choices import Choice, ChoiceChunk, choice_chunks, gathered
from domain.deadline import Deadline
from domain.errors import InvalidRequestError, NotSupportedError
from domain.generation import Capability, Embedding, LabelScores, ModelDescription
from domain.messages import ChatMessage, Prompt
from domain.parts import Parts
from domain.permits import Permits
from domain.ports import LabelScorer, TextEmbedder, TextGenerator
from domain.prompt_needs import refuse_unsupported
from domain.reply_stream import ReplyStream
from domain.runner import RunnerLimits

EMBEDDINGS_AT_ONCE = 16


class DirectRunner:
    """The backend as callers without a workflow reach it.

    Args:
        generator: the backend; opened and closed by others.
        limits: on the requests under way.
    """

    def __init__(self, generator: TextGenerator, limits: RunnerLimits) -> None:
        self._generator = generator
        self._limits = limits
        self._permits = Permits(limits.max_concurrent_requests)

    @property
    def model(self) -> ModelDescription:
        """The model served."""
        return self._generator.model

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the backend can do."""
        return self._generator.capabilities

    @property
    def num_running(self) -> int:
        """Requests under way."""
        return self._permits.num_taken

    async def ping(self) -> None:
        """Return when a request could be served now; raises ``UnavailableError`` otherwise."""
        await self._generator.ping()

    async def generate(
        self, prompts: Sequence[Prompt], note: Callable[[ChoiceChunk], None] = lambda _: None
    ) -> list[Choice]:
        """Answer all prompts at once.

        Args:
            prompts: of the answers.
            note: told each piece of an answer when it is there.

        Raises:
            NotSupportedError: the backend lacks what a prompt needs.
            OverloadedError: ``max_concurrent_requests`` are already running.
            DeadlineExceededError: ``request_timeout_s`` passed.
            BackendError: the backend failed, on any of the prompts.
        """
        return await gathered(self._chunks(prompts), len(prompts), note)

    async def stream(self, prompts: Sequence[Prompt]) -> ReplyStream[ChoiceChunk]:
        """Start to answer all prompts at once; the first chunk is there on return.

        Raises: as ``generate``; what fails after the first chunk is raised by the stream.
        """
        stream = ReplyStream(self._chunks(prompts))
        await stream.start()
        return stream

    async def embed(
        self, texts: Sequence[str], note: Callable[[Embedding], None] = lambda _: None
    ) -> list[Embedding]:
        """Embed each text.

        Args:
            texts: in the order of the embeddings.
            note: told each embedding when it is there.

        Raises: as ``generate``; ``InvalidRequestError`` names the text by its index.
        """
        embedder = self._generator
        if Capability.EMBEDDINGS not in self.capabilities or not isinstance(embedder, TextEmbedder):
            raise NotSupportedError(f"the backend of {self.model.model_id} does not offer embeddings")
        permit = self._permits.take()
        try:
            with Deadline(self._limits.request_timeout_s, self._limits.drain):
                embeddings: list[Embedding] = []
                for start in range(0, len(texts), EMBEDDINGS_AT_ONCE):
                    batch = texts[start : start + EMBEDDINGS_AT_ONCE]
                    embeddings += await _embeddings(embedder, batch, start, note)
                return embeddings
        finally:
            permit.release()

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        """Score each label as the assistant's next words. Raises: as ``generate``."""
        scorer = self._generator
        if Capability.LABEL_SCORES not in self.capabilities or not isinstance(scorer, LabelScorer):
            raise NotSupportedError(f"the backend of {self.model.model_id} does not offer label scores")
        permit = self._permits.take()
        try:
            with Deadline(self._limits.request_timeout_s, self._limits.drain):
                return await scorer.score_labels(messages, labels)
        finally:
            permit.release()

    async def _chunks(self, prompts: Sequence[Prompt]) -> AsyncGenerator[ChoiceChunk]:
        for prompt in prompts:
            refuse_unsupported(prompt, self._generator)
        permit = self._permits.take()
        try:
            with Deadline(self._limits.request_timeout_s, self._limits.drain):
                async with aclosing(choice_chunks(self._generator, prompts)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        finally:
            permit.release()


async def _embeddings(
    embedder: TextEmbedder, texts: Sequence[str], start: int, note: Callable[[Embedding], None]
) -> list[Embedding]:
    parts = Parts()

    async def embedding(index: int, text: str) -> Embedding:
        try:
            made = await parts.run(partial(embedder.embed, text))
        except InvalidRequestError as error:
            raise error.under(str(start + index)) from error
        note(made)
        return made

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(embedding(index, text)) for index, text in enumerate(texts)]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]
