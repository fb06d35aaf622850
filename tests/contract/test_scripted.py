"""The stand-in keeps the contract."""

from collections.abc import AsyncIterator, Callable

import pytest

from adapters.scripted import ScriptedTextGenerator
from domain.ports import TextGenerator
from domain.workflow import collect
from tests.contract.text_generator import TextGeneratorContract, prompt


class TestScripted(TextGeneratorContract):
    @pytest.fixture
    def new_generator(self) -> Callable[[], TextGenerator]:
        return lambda: ScriptedTextGenerator(context_length=1000)

    @pytest.fixture
    async def generator(self, new_generator: Callable[[], TextGenerator]) -> AsyncIterator[TextGenerator]:
        generator = new_generator()
        await generator.open()
        yield generator
        await generator.close()


async def test_replies_come_in_order_and_prompts_are_kept() -> None:
    generator = ScriptedTextGenerator("then this", replies=["one", "two"])
    await generator.open()

    answers = [(await collect(generator.generate(prompt(f"question {i}")))).text for i in range(3)]

    assert answers == ["one", "two", "then this"]
    assert [p.messages[0].content for p in generator.history] == ["question 0", "question 1", "question 2"]
