"""What every ``TextGenerator`` does; each backend's test module subclasses this and gives it a generator."""

import asyncio
import math
from collections.abc import Callable
from contextlib import aclosing

import pytest

from domain.errors import ContextLengthError, UnavailableError
from domain.generation import Capability, FinishReason, Generation, SamplingParameters
from domain.messages import ChatMessage, Prompt
from domain.ports import LabelScorer, TextEmbedder, TextGenerator
from domain.workflow import collect

QUESTION = "Name the capital of France and tell a long story about the sea."


def prompt(text: str = QUESTION, **parameters: object) -> Prompt:
    settings = {"max_tokens": 12} | parameters
    return Prompt([ChatMessage("user", text)], SamplingParameters.model_validate(settings))


class TextGeneratorContract:
    """The suite. A subclass has a fixture ``generator``: open, and closed afterwards.

    Another fixture, ``new_generator``, makes one that is not open. ``too_long_text`` is longer than the
    model's context.
    """

    too_long_text = "long " * 5000

    async def test_the_last_chunk_and_only_the_last_tells_reason_and_usage(
        self, generator: TextGenerator
    ) -> None:
        chunks = [chunk async for chunk in generator.generate(prompt())]

        assert all(chunk.finish_reason is None and chunk.usage is None for chunk in chunks[:-1])
        assert chunks[-1].finish_reason is not None
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.num_prompt_tokens > 0
        assert 0 < chunks[-1].usage.num_completion_tokens <= 12

    async def test_text_comes_in_pieces(self, generator: TextGenerator) -> None:
        texts = [chunk.text async for chunk in generator.generate(prompt()) if chunk.text]

        assert len(texts) > 1

    async def test_greedy_answers_repeat(self, generator: TextGenerator) -> None:
        first = await collect(generator.generate(prompt()))
        second = await collect(generator.generate(prompt()))

        assert first.text
        assert first == second

    async def test_max_tokens_ends_the_answer_for_its_length(self, generator: TextGenerator) -> None:
        generation = await collect(generator.generate(prompt(max_tokens=3)))

        assert generation.finish_reason is FinishReason.LENGTH
        assert generation.usage.num_completion_tokens == 3

    async def test_a_stop_sequence_ends_the_answer_and_is_left_out(self, generator: TextGenerator) -> None:
        whole = await collect(generator.generate(prompt()))
        stop = whole.text[len(whole.text) // 2 :][:3]

        generation = await collect(generator.generate(prompt(stop=[stop])))

        assert generation.finish_reason is FinishReason.STOP
        assert generation.text == whole.text[: whole.text.index(stop)]

    async def test_a_prompt_longer_than_the_context_is_refused(self, generator: TextGenerator) -> None:
        with pytest.raises(ContextLengthError):
            await collect(generator.generate(prompt(self.too_long_text)))
        assert (await collect(generator.generate(prompt(max_tokens=2)))).text

    async def test_many_calls_at_once_answer_as_each_does_alone(self, generator: TextGenerator) -> None:
        texts = [f"{QUESTION} Number {i}." for i in range(6)]
        alone = [await collect(generator.generate(prompt(text))) for text in texts]

        together = await asyncio.gather(*(collect(generator.generate(prompt(text))) for text in texts))

        self.assert_same_answers(together, alone)

    def assert_same_answers(self, together: list[Generation], alone: list[Generation]) -> None:
        assert together == alone

    async def test_cancelling_one_call_leaves_the_others_alone(self, generator: TextGenerator) -> None:
        expected = await collect(generator.generate(prompt()))
        leaving = asyncio.create_task(collect(generator.generate(prompt(max_tokens=200))))
        staying = asyncio.create_task(collect(generator.generate(prompt())))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.wait([leaving])

        self.assert_same_answers([await staying], [expected])

    async def test_closing_a_stream_early_ends_it_and_the_next_call_works(
        self, generator: TextGenerator
    ) -> None:
        async with aclosing(generator.generate(prompt(max_tokens=200))) as chunks:
            first = await anext(chunks)
        assert first.finish_reason is None

        async with asyncio.timeout(30):
            assert (await collect(generator.generate(prompt(max_tokens=2)))).text

    async def test_it_describes_its_model_and_answers_a_ping(self, generator: TextGenerator) -> None:
        await generator.ping()

        assert generator.model.model_id

    async def test_history_matters(self, generator: TextGenerator) -> None:
        messages = [
            ChatMessage("user", "My name is Bo."),
            ChatMessage("assistant", "Hello Bo."),
            ChatMessage("user", "Who am I?"),
        ]
        parameters = SamplingParameters(max_tokens=1)
        short = await collect(generator.generate(Prompt(messages[-1:], parameters)))
        long = await collect(generator.generate(Prompt(messages, parameters)))

        assert long.usage.num_prompt_tokens > short.usage.num_prompt_tokens

    async def test_closed_it_is_unavailable_and_closing_again_is_harmless(
        self, new_generator: Callable[[], TextGenerator]
    ) -> None:
        generator = new_generator()
        await generator.open()
        await generator.close()
        await generator.close()

        with pytest.raises(UnavailableError):
            await collect(generator.generate(prompt()))
        with pytest.raises(UnavailableError):
            await generator.ping()

    async def test_embeddings_are_vectors_of_one_size_that_tell_texts_apart(
        self, generator: TextGenerator
    ) -> None:
        if Capability.EMBEDDINGS not in generator.capabilities:
            return
        assert isinstance(generator, TextEmbedder)

        texts = ["I love it.", "I love it.", "The meeting is at noon.", "word " * 300]
        first, same, other, long = await asyncio.gather(*map(generator.embed, texts))

        assert first == same
        assert first.vector != other.vector
        assert len(first.vector) == len(other.vector) == len(long.vector) > 1
        assert all(math.isfinite(value) for value in long.vector)
        assert first.usage.num_prompt_tokens > 0
        assert first.usage.num_completion_tokens == 0
        with pytest.raises(ContextLengthError):
            await generator.embed(self.too_long_text)

    async def test_label_scores_are_log_probabilities(self, generator: TextGenerator) -> None:
        if Capability.LABEL_SCORES not in generator.capabilities:
            assert not isinstance(generator, LabelScorer)
            return
        assert isinstance(generator, LabelScorer)
        messages = [ChatMessage("user", "Is water wet? Answer yes or no.")]

        scores = await generator.score_labels(messages, ["Yes", "No", "Purple elephants"])

        assert list(scores.log_probabilities) == ["Yes", "No", "Purple elephants"]
        assert all(value < 0 for value in scores.log_probabilities.values())
        assert scores.usage.num_prompt_tokens > 0
        assert await generator.score_labels(messages, ["No"]) != scores
