"""The backend over an OpenAI-compatible server keeps the contract, against llama.cpp's own server."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from operator import mul
from pathlib import Path

import pytest

from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
from adapters.openai_http.generator import OpenAITextGenerator
from domain.generation import Capability, Generation
from domain.ports import TextGenerator
from domain.workflow import collect
from tests.contract.text_generator import TextGeneratorContract, prompt
from tests.llama_server import llama_server


@pytest.fixture(scope="module")
def base_url(smollm2_gguf: Path) -> Iterator[str]:
    with llama_server(smollm2_gguf) as url:
        yield url


class TestOpenAI(TextGeneratorContract):
    @pytest.fixture
    def new_generator(self, base_url: str) -> Callable[[], TextGenerator]:
        return lambda: OpenAITextGenerator(base_url)

    @pytest.fixture
    async def generator(self, new_generator: Callable[[], TextGenerator]) -> AsyncIterator[TextGenerator]:
        generator = new_generator()
        await generator.open()
        yield generator
        await generator.close()

    def assert_same_answers(self, together: list[Generation], alone: list[Generation]) -> None:
        # llama.cpp's kernels round differently in a batch, so that its greedy answers may part
        assert [g.usage.num_prompt_tokens for g in together] == [g.usage.num_prompt_tokens for g in alone]
        assert all(g.text for g in together)


async def test_the_first_model_listed_is_taken(base_url: str) -> None:
    generator = OpenAITextGenerator(base_url)
    await generator.open()
    await generator.ping()
    await generator.close()

    assert generator.model.model_id == "smollm2"


async def test_sampling_parameters_reach_the_server(base_url: str) -> None:
    generator = OpenAITextGenerator(base_url, model="smollm2")
    await generator.open()

    async def sampled(**parameters: object) -> str:
        return (await collect(generator.generate(prompt("Tell me a story.", **parameters)))).text

    hot = {"temperature": 1.5, "top_k": 100}
    try:
        assert await sampled(**hot, seed=1) == await sampled(**hot, seed=1)
        assert await sampled(**hot, seed=1) != await sampled(**hot, seed=2)
        # one candidate is left, so a high temperature changes nothing
        assert await sampled(temperature=1.5, top_k=1) == await sampled(temperature=0)
    finally:
        await generator.close()


async def test_embeddings_of_a_server_are_those_of_the_engine_on_the_same_model(
    smollm2_gguf: Path, smollm2_folder: Path
) -> None:
    engine = OnnxTextGenerator(smollm2_folder, "smollm2", OnnxOptions(max_context_tokens=128))
    await engine.open()
    with llama_server(smollm2_gguf, embeds=True) as url:
        server = OpenAITextGenerator(url, embedding_model="smollm2")
        await server.open()
        theirs = await server.embed("The price doubled overnight.")
        await server.close()
    ours = await engine.embed("The price doubled overnight.")
    await engine.close()

    # the server's are of length 1
    length = math.hypot(*ours.vector)
    assert sum(map(mul, ours.vector, theirs.vector)) / length == pytest.approx(1, abs=0.01)
    assert ours.usage == theirs.usage
    assert Capability.EMBEDDINGS in server.capabilities
    assert Capability.EMBEDDINGS not in OpenAITextGenerator(url).capabilities
