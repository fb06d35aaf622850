"""A workflow from request to reply, and the bounds on it."""

import asyncio
import datetime as dt
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from adapters.scripted import ScriptedTextGenerator
from domain.errors import (
    BackendError,
    ConfigurationError,
    DeadlineExceededError,
    FieldProblem,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    UnavailableError,
    UnserialisableOutputError,
    WorkflowError,
)
from domain.generation import Capability, FinishReason, Generation, SamplingParameters, Usage
from domain.messages import ChatMessage, Prompt
from domain.metering import MeteredTextGenerator
from domain.ports import TextGenerator
from domain.requests import LLMRequest
from domain.runner import RunnerLimits, WorkflowRunner, checked_output
from domain.workflow import LLMInferenceWorkflow, WorkflowPorts
from tests.fakes.backends import (
    BareTextGenerator,
    EndlessTextGenerator,
    FailingTextGenerator,
    SilentTextGenerator,
)

DATA = {"key": "k", "messageId": "m", "text": "to be or not", "history": []}


@asynccontextmanager
async def running(
    workflow: LLMInferenceWorkflow, generator: TextGenerator | None = None, **limits: Any
) -> AsyncIterator[WorkflowRunner]:
    backend = generator or ScriptedTextGenerator()
    await backend.open()
    runner = WorkflowRunner("test", workflow, RunnerLimits(**limits))
    ports = WorkflowPorts(
        MeteredTextGenerator(backend),
        None,
        None,
        None,
        None,
        SamplingParameters(max_tokens=20),
        asyncio.get_running_loop(),
    )
    await runner.open(ports)
    try:
        yield runner
    finally:
        await runner.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_base_class_answers_with_the_models_text_and_meters_it() -> None:
    async with running(LLMInferenceWorkflow()) as runner:
        reply = await runner.run(DATA)

    assert reply.output == "to be or not"
    assert reply.meter.usage == Usage(4, 4)
    assert reply.meter.finish_reason is FinishReason.STOP
    assert reply.meter.time_to_first_token_s is not None


class SyncWorkflow(LLMInferenceWorkflow):
    """Every hook plain; notes the thread each ran in."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def setup(self) -> None:
        self.threads.append(threading.current_thread().name)

    def preprocess(self, request: LLMRequest) -> Prompt:
        self.threads.append(threading.current_thread().name)
        return Prompt([ChatMessage("user", request.text.upper())])

    def generate(self, prompt: Prompt) -> Generation:
        self.threads.append(threading.current_thread().name)
        return self.wait(self.complete(prompt))

    def postprocess(self, generation: Generation, request: LLMRequest) -> dict[str, Any]:
        self.threads.append(threading.current_thread().name)
        return {"answer": generation.text, "asked": request.text}


async def test_plain_hooks_run_off_the_event_loop() -> None:
    workflow = SyncWorkflow()
    async with running(workflow) as runner:
        reply = await runner.run(DATA)

    assert reply.output == {"answer": "TO BE OR NOT", "asked": "to be or not"}
    assert reply.meter.usage == Usage(4, 4)  # metered across the thread
    assert len(workflow.threads) == 4
    assert all(name.startswith("workflow-test") for name in workflow.threads)


async def test_a_plain_hook_that_blocks_holds_nobody_else_up() -> None:
    release = threading.Event()

    class Blocking(LLMInferenceWorkflow):
        def postprocess(self, generation: Generation, request: LLMRequest) -> str:
            if request.text == "block":
                release.wait(5)
            return generation.text

    async with running(Blocking()) as runner:
        blocked = asyncio.create_task(runner.run(DATA | {"text": "block"}))
        await until(lambda: runner.num_running == 1)
        assert (await runner.run(DATA)).output == "to be or not"
        assert not blocked.done()
        release.set()
        assert (await blocked).output == "block"


async def test_a_workflow_may_declare_its_own_request_type() -> None:
    class Sum(LLMInferenceWorkflow):
        class Numbers(BaseModel):
            numbers: list[int]

        request_type: ClassVar[type[BaseModel]] = Numbers

        async def preprocess(self, request: Numbers) -> int:
            return sum(request.numbers)

        async def generate(self, prompt: int) -> int:
            return prompt

        async def postprocess(self, generation: int, request: Numbers) -> dict[str, int]:
            return {"sum": generation}

    async with running(Sum()) as runner:
        assert (await runner.run({"numbers": [1, 2, 3]})).output == {"sum": 6}
        with pytest.raises(InvalidRequestError, match=r"data\.numbers\.1"):
            await runner.run({"numbers": [1, "x"]})


async def test_a_request_type_without_a_preprocess_says_what_is_missing() -> None:
    class Forgot(LLMInferenceWorkflow):
        class Other(BaseModel):
            pass

        request_type: ClassVar[type[BaseModel]] = Other

    async with running(Forgot()) as runner:
        with pytest.raises(NotSupportedError, match="must override preprocess"):
            await runner.run({})


@pytest.mark.parametrize("hook", ["preprocess", "generate", "postprocess"])
@pytest.mark.parametrize("is_async", [True, False])
async def test_an_error_in_a_hook_names_the_hook_and_no_text(hook: str, is_async: bool) -> None:
    def fail(self: object, *arguments: Any) -> None:
        raise KeyError("secret text")

    async def fail_async(self: object, *arguments: Any) -> None:
        raise KeyError("secret text")

    broken = type("Broken", (LLMInferenceWorkflow,), {hook: fail_async if is_async else fail})
    broken.__dict__[hook].__name__ = hook
    async with running(broken()) as runner:
        with pytest.raises(WorkflowError, match=hook) as caught:
            await runner.run(DATA)

    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    assert runner.num_running == 0


@pytest.mark.parametrize("error", [StopIteration("x"), SystemExit(3), RuntimeError("x")])
async def test_whatever_a_plain_hook_raises_is_that_requests_error(error: BaseException) -> None:
    class Broken(LLMInferenceWorkflow):
        def preprocess(self, request: LLMRequest) -> Prompt:
            raise error

    async with running(Broken()) as runner:
        with pytest.raises(WorkflowError, match="preprocess"):
            await runner.run(DATA)


async def test_a_hook_may_refuse_a_request() -> None:
    class Polite(LLMInferenceWorkflow):
        def preprocess(self, request: LLMRequest) -> Prompt:
            raise InvalidRequestError(FieldProblem("data.text", "no questions please"))

    async with running(Polite()) as runner:
        with pytest.raises(InvalidRequestError, match="no questions"):
            await runner.run(DATA)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "NoneType"),
        (5, "int"),
        (["a"], "list"),
        (b"bytes", "bytes"),
        ({"when": dt.date(2026, 1, 1)}, "date"),
        ({"score": float("nan")}, "JSON"),
        ({"x": {1, 2}}, "set"),
        ("\ud800", "surrogate"),
        ({(1, 2): 3}, "tuple"),
    ],
)
def test_output_that_json_cannot_hold_names_its_type(output: Any, words: str) -> None:
    with pytest.raises(UnserialisableOutputError, match=words):
        checked_output(output)


@pytest.mark.parametrize("output", ["", "text", {}, {"a": [1, 2.5, None, True, {"b": "ü"}]}])
def test_strings_and_json_objects_are_output(output: Any) -> None:
    assert checked_output(output) == output


def test_output_that_contains_itself_is_refused() -> None:
    output: dict[str, Any] = {}
    output["self"] = output

    with pytest.raises(UnserialisableOutputError):
        checked_output(output)


async def test_the_deadline_ends_a_request_and_its_generation() -> None:
    backend = EndlessTextGenerator()
    async with running(LLMInferenceWorkflow(), backend, request_timeout_s=0.05) as runner:
        with pytest.raises(DeadlineExceededError, match=r"0\.05 s"):
            await runner.run(DATA)

        assert backend.num_running == 0
        assert runner.num_running == 0


async def test_a_plain_hook_past_its_deadline_keeps_its_permit_until_it_returns() -> None:
    release = threading.Event()

    class Hanging(LLMInferenceWorkflow):
        def preprocess(self, request: LLMRequest) -> Prompt:
            release.wait(10)
            return Prompt([ChatMessage("user", "late")])

    async with running(Hanging(), request_timeout_s=0.05, max_concurrent_requests=1) as runner:
        with pytest.raises(DeadlineExceededError):
            await runner.run(DATA)
        assert runner.num_running == 1
        with pytest.raises(OverloadedError, match="already running"):
            await runner.run(DATA)

        release.set()
        await until(lambda: runner.num_running == 0)
        assert (await runner.run(DATA)).output == "late"


async def test_cancelling_a_request_cancels_the_port_call_its_plain_hook_waits_for() -> None:
    class Sync(LLMInferenceWorkflow):
        def generate(self, prompt: Prompt) -> Generation:
            return self.wait(self.complete(prompt))

    backend = EndlessTextGenerator()
    async with running(Sync(), backend) as runner:
        request = asyncio.create_task(runner.run(DATA))
        await until(lambda: backend.num_running == 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await until(lambda: backend.num_running == 0 and runner.num_running == 0)


@pytest.mark.parametrize("generator", [FailingTextGenerator(), SilentTextGenerator()])
async def test_a_backend_that_breaks_off_is_an_error_and_never_a_short_answer(
    generator: TextGenerator,
) -> None:
    async with running(LLMInferenceWorkflow(), generator) as runner:
        with pytest.raises(BackendError):
            await runner.run(DATA)


async def test_a_backend_without_a_required_capability_is_refused_at_start() -> None:
    class NeedsScores(LLMInferenceWorkflow):
        requires: ClassVar[frozenset[Capability]] = frozenset({Capability.LABEL_SCORES})

    with pytest.raises(ConfigurationError, match="NeedsScores needs label scores"):
        async with running(NeedsScores(), BareTextGenerator()):
            pass


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_setup_that_fails_stops_the_start_with_its_reason(is_async: bool) -> None:
    class Sync(LLMInferenceWorkflow):
        def setup(self) -> None:
            raise FileNotFoundError("lexicon.txt")

    class Async(LLMInferenceWorkflow):
        async def setup(self) -> None:
            raise FileNotFoundError("lexicon.txt")

    with pytest.raises(ConfigurationError, match=r"setup .* failed: FileNotFoundError: lexicon\.txt"):
        async with running(Async() if is_async else Sync()):
            pass


async def test_close_runs_once_and_requests_after_it_are_refused() -> None:
    class Closing(LLMInferenceWorkflow):
        num_closed = 0

        def close(self) -> None:
            self.num_closed += 1

    workflow = Closing()
    async with running(workflow) as runner:
        pass
    await runner.close()

    assert workflow.num_closed == 1
    with pytest.raises(UnavailableError):
        await runner.run(DATA)


async def test_many_requests_at_once_keep_to_themselves() -> None:
    async with running(SyncWorkflow()) as runner:
        texts = [f"word{i} " * (i % 5 + 1) for i in range(60)]
        replies = await asyncio.gather(*(runner.run(DATA | {"text": text}) for text in texts))

    for text, reply in zip(texts, replies, strict=True):
        assert reply.output == {"answer": text.upper(), "asked": text}
