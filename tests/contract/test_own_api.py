"""Both clients of OpenAI's API keep the contract against ours: that for other servers, and the engine's."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from bench.server_process import free_port

from adapters.openai_http.engine import EngineTextGenerator
from adapters.openai_http.generator import OpenAITextGenerator
from adapters.scripted import ScriptedTextGenerator
from adapters.settings import Settings
from domain.constraints import OutputConstraint
from domain.errors import ContextLengthError, FieldProblem, InvalidRequestError, NotSupportedError
from domain.generation import SamplingParameters, TokenChunk
from domain.messages import Prompt
from domain.ports import TextGenerator
from domain.runner import RunnerLimits
from domain.workflow import collect
from entrypoints.container import build_container
from entrypoints.http.app import create_app
from entrypoints.http.engine_app import create_engine_app
from tests.contract.text_generator import TextGeneratorContract, prompt
from tests.fakes.backends import BareTextGenerator
from tests.serving import serving

CONTEXT_LENGTH = 1000


class TestOpenAIOnOurApi(TextGeneratorContract):
    @pytest.fixture
    async def new_generator(self) -> AsyncIterator[Callable[[], TextGenerator]]:
        bind = f"127.0.0.1:{free_port()}"
        settings = Settings(_env_file=None, LLM_JOURNAL="memory", LLM_AUTH_TOKENS="token-of-the-test")
        backend = ScriptedTextGenerator(context_length=CONTEXT_LENGTH)
        async with serving(create_app(build_container(settings, generator=backend)), bind):
            yield lambda: OpenAITextGenerator(
                f"http://{bind}/v1", api_key="token-of-the-test", embedding_model="scripted"
            )

    @pytest.fixture
    async def generator(self, new_generator: Callable[[], TextGenerator]) -> AsyncIterator[TextGenerator]:
        generator = new_generator()
        await generator.open()
        yield generator
        await generator.close()


class TestEngine(TextGeneratorContract):
    @pytest.fixture
    async def new_generator(self) -> AsyncIterator[Callable[[], TextGenerator]]:
        with TemporaryDirectory() as folder:
            address = Path(folder) / "engine"
            backend = ScriptedTextGenerator(context_length=CONTEXT_LENGTH)
            async with serving(create_engine_app(backend, RunnerLimits()), f"unix:{address}"):
                yield lambda: EngineTextGenerator(address)

    @pytest.fixture
    async def generator(self, new_generator: Callable[[], TextGenerator]) -> AsyncIterator[TextGenerator]:
        generator = new_generator()
        await generator.open()
        yield generator
        await generator.close()

    async def test_it_is_the_backend_itself_to_those_who_ask(self, generator: TextGenerator) -> None:
        backend = ScriptedTextGenerator(context_length=CONTEXT_LENGTH)

        assert generator.model == backend.model
        assert generator.capabilities == backend.capabilities

    async def test_errors_cross_with_their_words(self, generator: TextGenerator) -> None:
        assert isinstance(generator, EngineTextGenerator)
        constrained = prompt(constraint=OutputConstraint(regex="a"))
        with pytest.raises(ContextLengthError, match=r"is 1000 tokens\. However, the prompt of 5001 tokens"):
            await collect(generator.generate(prompt("long " * 5000)))
        with pytest.raises(NotSupportedError, match="scripted does not offer constrained output"):
            await collect(generator.generate(constrained))
        with pytest.raises(InvalidRequestError, match=r"^there is no text to embed$"):
            await generator.embed("")

    async def test_embeddings_cross_bit_for_bit(self, generator: TextGenerator) -> None:
        assert isinstance(generator, EngineTextGenerator)
        backend = ScriptedTextGenerator()
        await backend.open()

        assert await generator.embed("to be or not") == await backend.embed("to be or not")

    @pytest.mark.parametrize("field", ["constraint.regex", "data.history"])
    async def test_a_refused_field_crosses_with_its_name(self, field: str) -> None:
        class Refusing(BareTextGenerator):
            async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
                raise InvalidRequestError(FieldProblem(field, "is too complex"))
                yield TokenChunk("")

        with TemporaryDirectory() as folder:
            address = Path(folder) / "engine"
            async with serving(create_engine_app(Refusing(), RunnerLimits()), f"unix:{address}"):
                generator = EngineTextGenerator(address)
                await generator.open()
                with pytest.raises(InvalidRequestError) as refused:
                    await collect(generator.generate(prompt()))
                await generator.close()

        assert refused.value.problems == (FieldProblem(field, "is too complex"),)

    async def test_an_answer_may_be_as_long_as_the_context_where_nothing_bounds_it(
        self, generator: TextGenerator
    ) -> None:
        text = "word " * 400
        generation = await collect(generator.generate(Prompt((), SamplingParameters(), text)))

        assert generation.text == text
        assert generation.usage.num_completion_tokens == 401

    async def test_log_probabilities_cross(self, generator: TextGenerator) -> None:
        chunks = [chunk async for chunk in generator.generate(prompt("a ß", top_logprobs=2))]
        backend = ScriptedTextGenerator()
        await backend.open()
        expected = [chunk async for chunk in backend.generate(prompt("a ß", top_logprobs=2))]

        assert chunks == expected
        assert [logprob.token for chunk in chunks for logprob in chunk.logprobs] == ["a", " ß"]


async def test_log_probabilities_of_a_text_cross_to_others_servers_client() -> None:
    bind = f"127.0.0.1:{free_port()}"
    settings = Settings(_env_file=None, LLM_JOURNAL="memory")
    backend = ScriptedTextGenerator()
    client = OpenAITextGenerator(f"http://{bind}/v1")
    asked = Prompt((), SamplingParameters(top_logprobs=2), "a ß")
    async with serving(create_app(build_container(settings, generator=backend)), bind):
        await client.open()
        chunks: list[TokenChunk] = [chunk async for chunk in client.generate(asked)]
        expected = [chunk async for chunk in backend.generate(asked)]
        await client.close()

    assert chunks == expected
