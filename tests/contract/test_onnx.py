"""The engine keeps the contract with the default model, and scores as it generates."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

from adapters.manifest import fingerprint_of
from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import Logits, OnnxSession, TokenIds
from domain.errors import ConfigurationError, ContextLengthError, InvalidRequestError
from domain.generation import FinishReason, SamplingParameters, TokenLogprob
from domain.messages import ChatMessage, Prompt
from domain.ports import TextGenerator
from domain.workflow import collect
from tests.contract.text_generator import QUESTION, TextGeneratorContract, prompt

NEAR_TIE = 0.2
"""In log probability: what rounding of 8-bit weights and activations may do."""


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

    async def test_many_calls_at_once_answer_as_each_does_alone(self, generator: TextGenerator) -> None:
        prompts = [with_logprobs(f"{QUESTION} Number {i}.") for i in range(6)]
        alone = [await tokens_of(generator, each) for each in prompts]

        together = await asyncio.gather(*(tokens_of(generator, each) for each in prompts))

        for one, other in zip(alone, together, strict=True):
            assert_same_up_to_near_ties(one, other)

    async def test_cancelling_one_call_leaves_the_others_alone(self, generator: TextGenerator) -> None:
        expected = await tokens_of(generator, with_logprobs(QUESTION))
        leaving = asyncio.create_task(collect(generator.generate(prompt(max_tokens=200))))
        staying = asyncio.create_task(tokens_of(generator, with_logprobs(QUESTION)))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.wait([leaving])

        assert_same_up_to_near_ties(expected, await staying)


def with_logprobs(text: str) -> Prompt:
    return prompt(text, top_logprobs=5)


async def tokens_of(generator: TextGenerator, asked: Prompt) -> list[TokenLogprob]:
    return [logprob async for chunk in generator.generate(asked) for logprob in chunk.logprobs]


def assert_same_up_to_near_ties(one: list[TokenLogprob], other: list[TokenLogprob]) -> None:
    """Batches of other sizes round differently; where two tokens are nearly as likely, either may come."""
    for first, second in zip(one, other, strict=False):
        if first.token_bytes != second.token_bytes:
            rivals = {rival.token_bytes: rival.logprob for rival in first.alternatives}
            assert first.logprob - rivals[second.token_bytes] < NEAR_TIE
            return
        assert first.logprob == pytest.approx(second.logprob, abs=NEAR_TIE)
    assert len(one) == len(other)


async def test_a_label_scores_what_its_tokens_would_be_generated_with(smollm2: OnnxTextGenerator) -> None:
    messages = [ChatMessage("user", "What is the capital of France? One word.")]
    generated = await tokens_of(smollm2, Prompt(messages, SamplingParameters(max_tokens=3, top_logprobs=0)))
    label = b"".join(token.token_bytes for token in generated).decode()

    scores = await smollm2.score_labels(messages, [label, label[::-1]])

    said, reversed_ = scores.log_probabilities.values()
    expected = sum(token.logprob for token in generated)
    assert said == pytest.approx(expected, abs=len(generated) * NEAR_TIE)
    assert said > reversed_ + 10


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


async def test_no_answer_depends_on_the_load_or_on_guesses(
    smollm2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OnnxOptions(max_context_tokens=512, prefill_chunk_tokens=48)
    num_verified = count_verified(monkeypatch)
    generator = OnnxTextGenerator(smollm2_folder, "smollm2", options)
    prompts = [
        prompt("List the colours, and again, and again.", max_tokens=24, temperature=0.7, seed=seed)
        for seed in (1, 2)
    ] + [prompt(f"Tell of {'big and small ' * (7 * i)}numbers near {i}.", max_tokens=24) for i in range(8)]
    await generator.open()
    try:
        alone = [(await collect(generator.generate(each))).text for each in prompts]
        assert num_verified
        leaving = asyncio.create_task(collect(generator.generate(prompt("Count.", max_tokens=400))))
        staying = [asyncio.create_task(collect(generator.generate(each))) for each in reversed(prompts)]
        await asyncio.sleep(0.3)
        leaving.cancel()
        together = [(await each).text for each in reversed(staying)]
    finally:
        await generator.close()

    assert together == alone


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


async def test_tokens_read_as_the_text_they_are(smollm2: OnnxTextGenerator) -> None:
    asked = prompt("Write three emojis and the word naïve.", top_logprobs=0, max_tokens=30)
    chunks = [chunk async for chunk in smollm2.generate(asked)]

    text = "".join(chunk.text for chunk in chunks)
    spelled = b"".join(logprob.token_bytes for chunk in chunks for logprob in chunk.logprobs)
    assert spelled.decode(errors="ignore").startswith(text.rstrip("\ufffd"))


async def test_a_text_is_gone_on_with_as_it_stands(smollm2: OnnxTextGenerator) -> None:
    asked = Prompt([], SamplingParameters(max_tokens=3), text="one, two, three, four, five,")

    generation = await collect(smollm2.generate(asked))

    assert "six" in generation.text
    assert generation.usage.num_prompt_tokens < 20


async def test_a_second_turn_reads_the_first_from_the_cache(smollm2: OnnxTextGenerator) -> None:
    first = [ChatMessage("user", "List the months of the year, each with a short remark about its weather.")]
    answer = await collect(smollm2.generate(Prompt(first, SamplingParameters(max_tokens=60))))
    second = [*first, ChatMessage("assistant", answer.text), ChatMessage("user", "Which is coldest?")]

    again = await collect(smollm2.generate(Prompt(second, SamplingParameters(max_tokens=8))))

    assert again.usage.num_cached_prompt_tokens >= 64


async def test_ignoring_the_end_writes_as_much_as_was_asked_for(smollm2: OnnxTextGenerator) -> None:
    generation = await collect(smollm2.generate(prompt("Say hi.", max_tokens=70, ignore_eos=True)))

    assert generation.usage.num_completion_tokens == 70
    assert generation.finish_reason is FinishReason.LENGTH


async def test_a_text_that_repeats_is_copied_as_plain_decoding_does(
    smollm2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"
    asked = prompt(f"Repeat this exactly, twice: {text}", max_tokens=60, top_logprobs=5)
    num_verified = count_verified(monkeypatch)
    answers = []
    for max_draft_tokens in (0, 7):
        options = OnnxOptions(max_context_tokens=512, max_draft_tokens=max_draft_tokens)
        generator = OnnxTextGenerator(smollm2_folder, "smollm2", options)
        await generator.open()
        answers.append(await tokens_of(generator, asked))
        await generator.close()
        assert bool(num_verified) is (max_draft_tokens > 0)  # how often, their costs decide

    assert answers[0] == answers[1]


def count_verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the tokens of each pass that verifies guesses as decode steps would."""
    numbers: list[int] = []
    verify = OnnxSession.verify

    def counted(session: OnnxSession, slot: int, token_ids: TokenIds, num_past: int) -> Logits:
        assert len(token_ids) in session.verify_widths
        numbers.append(len(token_ids))
        return verify(session, slot, token_ids, num_past)

    monkeypatch.setattr(OnnxSession, "verify", counted)
    return numbers


async def test_constrained_answers_have_their_form_beside_free_ones(smollm2: OnnxTextGenerator) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "is_capital": {"type": "boolean"}},
        "required": ["city", "is_capital"],
        "additionalProperties": False,
    }
    forms = [{"json_schema": schema}, {"regex": "[0-9]{3}-[0-9]{4}"}, {"choices": ["buy", "sell"]}, None]
    asked = [prompt("Tell me about Paris.", max_tokens=60, constraint=form) for form in forms]

    city, number, choice, free = await asyncio.gather(*(collect(smollm2.generate(each)) for each in asked))

    assert set(json.loads(city.text)) == {"city", "is_capital"}
    assert re.fullmatch("[0-9]{3}-[0-9]{4}", number.text)
    assert choice.text in {"buy", "sell"}
    assert {city.finish_reason, number.finish_reason, choice.finish_reason} == {FinishReason.STOP}
    assert len(free.text) > 20


async def test_a_constraint_that_is_none_names_its_field(smollm2: OnnxTextGenerator) -> None:
    with pytest.raises(InvalidRequestError, match=r"^constraint\.regex"):
        await collect(smollm2.generate(prompt(constraint={"regex": "(unclosed"})))


async def test_a_text_as_long_as_the_context_is_embedded_and_a_longer_one_is_refused(
    smollm2_folder: Path,
) -> None:
    generator = OnnxTextGenerator(smollm2_folder, "smollm2", OnnxOptions(max_context_tokens=32))
    await generator.open()
    try:
        embedding = await generator.embed(" a" * 32)
        with pytest.raises(ContextLengthError):
            await generator.embed(" a" * 33)
    finally:
        await generator.close()

    assert embedding.usage.num_prompt_tokens == 32


@pytest.mark.parametrize("labels", [[], ["Yes", ""]])
async def test_labels_without_text_are_refused(smollm2: OnnxTextGenerator, labels: list[str]) -> None:
    with pytest.raises(InvalidRequestError, match="labels"):
        await smollm2.score_labels([ChatMessage("user", QUESTION)], labels)


@pytest.fixture
def folder_with_a_later_token(smollm2_folder: Path, tmp_path: Path) -> Path:
    """Return the default model with a special token that was added behind its vocabulary."""
    for file in smollm2_folder.iterdir():
        if file.name not in {"manifest.json", "tokenizer.json"}:
            (tmp_path / file.name).symlink_to(file)
    tokenizer = Tokenizer.from_file(str(smollm2_folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<later>")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


async def test_a_special_token_beyond_the_model_s_vocabulary_ends_nobody_else_s_answer(
    folder_with_a_later_token: Path,
) -> None:
    options = OnnxOptions(max_context_tokens=64)
    generator = OnnxTextGenerator(folder_with_a_later_token, "smollm2", options)
    await generator.open()
    try:
        other = asyncio.create_task(collect(generator.generate(prompt(max_tokens=20, ignore_eos=True))))
        with pytest.raises(InvalidRequestError, match="special token"):
            await collect(generator.generate(prompt("What is <later>?")))
        assert (await other).usage.num_completion_tokens == 20
    finally:
        await generator.close()


async def test_a_cache_that_does_not_fit_is_told_by_the_settings_that_make_it(smollm2_folder: Path) -> None:
    options = OnnxOptions(max_running_sequences=100_000_000)
    generator = OnnxTextGenerator(smollm2_folder, "smollm2", options)

    with pytest.raises(ConfigurationError, match="LLM_MAX_RUNNING_SEQUENCES"):
        await generator.open()
    await generator.close()
