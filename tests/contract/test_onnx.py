"""The engine keeps the contract with the default model, and scores as it generates."""

import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.manifest import fingerprint_of
from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
from adapters.onnx.providers import ProviderChoice
from domain.errors import InvalidRequestError
from domain.generation import FinishReason, SamplingParameters
from domain.messages import ChatMessage, Prompt
from domain.ports import TextGenerator
from domain.workflow import collect
from tests.contract.text_generator import TextGeneratorContract, prompt


@pytest.fixture(scope="session")
async def smollm2(smollm2_folder: Path) -> AsyncIterator[OnnxTextGenerator]:
    generator = OnnxTextGenerator(smollm2_folder, "smollm2", OnnxOptions(max_context_tokens=1024))
    await generator.open()
    yield generator
    await generator.close()


class TestOnnx(TextGeneratorContract):
    @pytest.fixture
    def new_generator(self, smollm2_folder: Path) -> Callable[[], TextGenerator]:
        return lambda: OnnxTextGenerator(smollm2_folder, "smollm2", OnnxOptions(max_context_tokens=64))

    @pytest.fixture
    def generator(self, smollm2: OnnxTextGenerator) -> TextGenerator:
        return smollm2


async def test_a_label_scores_what_its_tokens_would_be_generated_with(smollm2: OnnxTextGenerator) -> None:
    messages = [ChatMessage("user", "What is the capital of France? One word.")]
    generation = await collect(smollm2.generate(Prompt(messages, SamplingParameters(max_tokens=3))))

    scores = await smollm2.score_labels(messages, [generation.text, generation.text[::-1]])

    said, reversed_ = scores.log_probabilities.values()
    assert said > math.log(0.1)
    assert said > reversed_


async def test_the_provider_in_use_is_the_sessions(smollm2: OnnxTextGenerator) -> None:
    assert smollm2.model.provider == "CPUExecutionProvider"
    assert smollm2.model.context_length == 1024


async def test_the_model_is_known_by_its_folder(smollm2: OnnxTextGenerator, smollm2_folder: Path) -> None:
    assert smollm2.model.fingerprint == fingerprint_of(smollm2_folder)


async def test_a_seed_repeats_a_sampled_answer(smollm2: OnnxTextGenerator) -> None:
    def sampled(seed: int) -> Prompt:
        return prompt("Tell me a story.", temperature=1.2, seed=seed, top_p=0.95)

    answers = [(await collect(smollm2.generate(sampled(seed)))).text for seed in (1, 1, 2)]

    assert answers[0] == answers[1] != answers[2]


async def test_an_answer_that_reaches_the_end_of_the_context_stops_there(tiny_folder: Path) -> None:
    options = OnnxOptions(provider=ProviderChoice.CPU, max_context_tokens=40)
    generator = OnnxTextGenerator(tiny_folder, "tiny", options)
    await generator.open()
    try:
        generation = await collect(generator.generate(prompt("hello", max_tokens=500)))
    finally:
        await generator.close()

    if generation.finish_reason is FinishReason.LENGTH:
        assert generation.usage.num_prompt_tokens + generation.usage.num_completion_tokens == 40


async def test_a_conversation_that_the_template_refuses_is_the_callers_error(tiny_folder: Path) -> None:
    generator = OnnxTextGenerator(tiny_folder, "tiny", OnnxOptions(max_context_tokens=64))
    await generator.open()
    try:
        with pytest.raises(InvalidRequestError, match="no system role"):
            await collect(generator.generate(Prompt([ChatMessage("system", "x")])))
    finally:
        await generator.close()
