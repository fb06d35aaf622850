"""Runs one workflow: opens it, takes each request through its hooks, bounds time and concurrency.

A plain hook runs in a thread, which cannot be stopped: when its request passes the deadline or is cancelled,
the caller is answered at once, and the request's permit stays taken until the hook returns. So a hook that
hangs takes a permit away; it cannot pile up threads.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from domain.deadline import Deadline
from domain.drain import Drain
from domain.errors import (
    ConfigurationError,
    FieldProblem,
    InvalidRequestError,
    PromptLimitError,
    ServiceError,
    UnavailableError,
    UnserialisableOutputError,
    WorkflowError,
)
from domain.generation import Capability, SamplingParameters, Usage
from domain.metering import RequestMeter
from domain.permits import Permit, Permits
from domain.prompt_needs import refuse_long_answer
from domain.proof_request import ProofRequest
from domain.reply_stream import ReplyStream
from domain.requests import RequestData
from domain.tracing import NO_TRACES, Attributes, Tracer
from domain.validation import validated
from domain.workflow import LLMInferenceWorkflow, WorkflowPorts

JSON = json.JSONEncoder(allow_nan=False, ensure_ascii=False)  # json.dumps makes one a call


@dataclass(frozen=True, slots=True)
class WorkflowReply:
    """What a workflow answered, checked to be a string or a JSON object."""

    output: str | dict[str, Any]
    meter: RequestMeter


@dataclass(frozen=True, slots=True)
class RunnerLimits:
    """Bounds on the work that one workflow accepts."""

    request_timeout_s: float = 170.0
    max_concurrent_requests: int = 256
    max_hook_threads: int = 16
    max_output_tokens: int | None = None
    """That a request may ask for."""
    drain: Drain = field(default_factory=Drain)
    """Ends what is under way when the service stops."""


class WorkflowRunner:
    """One workflow, ready to serve.

    Args:
        name: in the settings.
        workflow: constructed, not yet set up.
        limits: on the requests under way.
        tracer: told of each request, and of each hook's part in it.
    """

    def __init__(
        self,
        name: str,
        workflow: LLMInferenceWorkflow,
        limits: RunnerLimits,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        self.name = name
        self._tracer = tracer
        self._span: tuple[str, Attributes] = (
            f"invoke_workflow {name}",
            {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": name},
        )
        self._workflow = workflow
        self._limits = limits
        self._permits = Permits(limits.max_concurrent_requests)
        self._threads = ThreadPoolExecutor(limits.max_hook_threads, thread_name_prefix=f"workflow-{name}")
        self._is_open = False
        self._has_proofs = False

    @property
    def num_running(self) -> int:
        """Requests that hold a permit, hooks left behind by a deadline included."""
        return self._permits.num_taken

    async def open(self, ports: WorkflowPorts) -> None:
        """Bind the ports and set the workflow up.

        Raises:
            ConfigurationError: the backend lacks what the workflow requires, or ``setup`` failed.
        """
        offered = set(ports.generator.capabilities)
        if ports.prover is not None:
            offered.add(Capability.PROOFS)
        if ports.decision_head is not None:
            offered.add(Capability.DECISION_HEAD)
        missing = self._workflow.requires - offered
        if missing:
            needed = ", ".join(sorted(capability.value for capability in missing))
            raise ConfigurationError(
                f"the workflow {type(self._workflow).__name__} needs {needed}, which neither the backend "
                f"of {ports.generator.model.model_id} nor a circuit (LLM_CIRCUIT) "
                "nor a decision head (LLM_DECISION_HEAD) offers",
            )
        self._has_proofs = Capability.PROOFS in self._workflow.requires | (self._workflow.optional & offered)
        self._workflow.bind(ports)
        try:
            await self._call(self._workflow.setup, Permit(lambda: None))
        except WorkflowError as error:
            cause = error.__cause__
            raise ConfigurationError(
                f"setup of the workflow {type(self._workflow).__name__} failed: "
                f"{type(cause).__name__}: {cause}",
            ) from error
        self._is_open = True

    async def close(self) -> None:
        """Close the workflow; threads of hooks that hang are left to the process's end."""
        if self._is_open:
            self._is_open = False
            try:
                await self._call(self._workflow.close, Permit(lambda: None))
            finally:
                self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def workflow(self) -> LLMInferenceWorkflow:
        """The workflow that is run."""
        return self._workflow

    @property
    def has_proofs(self) -> bool:
        """Whether a request may ask for a proof; known after ``open``."""
        return self._has_proofs

    async def run(
        self,
        data: RequestData,
        *,
        requires_proof: bool = False,
        on_end: Callable[[Usage], None] = lambda _: None,
    ) -> WorkflowReply:
        """Take one request through the workflow.

        Args:
            data: of the request.
            requires_proof: whether it asks for one.
            on_end: told what was used, however it ends.

        Raises:
            InvalidRequestError: ``data`` is not what the workflow's request type asks for, or a proof is
                asked of a workflow that attaches none.
            OverloadedError: ``max_concurrent_requests`` are already running.
            DeadlineExceededError: ``request_timeout_s`` passed.
            UnavailableError: the service stopped before.
            WorkflowError: a hook raised, or returned what JSON cannot hold.
        """
        request = self.checked(data, requires_proof=requires_proof)
        permit = self._permits.take()
        meter = RequestMeter()
        try:
            with (
                meter,
                ProofRequest(is_required=requires_proof),
                self._tracer.span(*self._span),
            ):
                with Deadline(self._limits.request_timeout_s, self._limits.drain), _naming_data():
                    output = await self._output(request, permit)
                return WorkflowReply(checked_output(output), meter)
        finally:
            permit.release()
            on_end(meter.usage)

    def checked(self, data: RequestData, *, requires_proof: bool = False) -> BaseModel:
        """Return ``data`` as the workflow's request type.

        Raises: ``InvalidRequestError`` as ``run``, and ``UnavailableError`` before and after its time.
        """
        if not self._is_open:
            raise UnavailableError("the service is starting or stopping")
        if requires_proof and not self._has_proofs:
            problem = "this workflow attaches no proofs; send false or leave it out"
            raise InvalidRequestError(FieldProblem("requires_proof", problem))
        request = validated(self._workflow.request_type, data, under="data")
        asked = getattr(request, "parameters", None)
        if isinstance(asked, SamplingParameters):
            refuse_long_answer("data.parameters.max_tokens", asked.max_tokens, self._limits.max_output_tokens)
        return request

    async def stream(
        self, data: RequestData, on_end: Callable[[Usage], None] = lambda _: None
    ) -> ReplyStream[str]:
        """Start one request whose answer comes piece by piece; the first piece is there on return.

        Args:
            data: as in ``run``.
            on_end: told what was used, however the stream ends; where it broke off, a token for each piece.

        Raises: as ``run``; what fails after the first piece is raised by the stream.
        """
        request = self.checked(data)
        permit = self._permits.take()

        async def pieces() -> AsyncGenerator[str]:
            meter, num_pieces = RequestMeter(), 0
            try:
                with (
                    meter,
                    self._tracer.span(*self._span),
                    Deadline(self._limits.request_timeout_s, self._limits.drain),
                    _naming_data(),
                ):
                    async with aclosing(self._pieces(request, permit)) as own:
                        async for piece in own:
                            num_pieces += 1
                            yield piece
            finally:
                permit.release()
                on_end(meter.usage if meter.usage != Usage() else Usage(num_completion_tokens=num_pieces))

        stream = ReplyStream(pieces())
        await stream.start()
        return stream

    async def _output(self, request: BaseModel, permit: Permit) -> Any:
        prompt = await self._step(self._workflow.preprocess, permit, request)
        generation = await self._step(self._workflow.generate, permit, prompt)
        return await self._step(self._workflow.postprocess, permit, generation, request)

    async def _pieces(self, request: BaseModel, permit: Permit) -> AsyncGenerator[str]:
        if not self._workflow.streams_pieces:
            output = checked_output(await self._output(request, permit))
            yield output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
            return
        prompt = await self._step(self._workflow.preprocess, permit, request)
        pieces: Any = self._workflow.stream(prompt)
        try:
            with self._tracer.span("stream"):
                if isinstance(pieces, AsyncGenerator):
                    async with aclosing(pieces):
                        async for piece in pieces:
                            yield _checked_piece(piece)
                else:
                    end = object()
                    while (piece := await self._call(_next_piece, permit, pieces, end)) is not end:
                        yield _checked_piece(piece)
        except ServiceError:
            raise
        except Exception as error:
            raise WorkflowError(f"the workflow's stream failed ({type(error).__name__})") from error

    async def _step(self, hook: Callable[..., Any], permit: Permit, *arguments: Any) -> Any:
        with self._tracer.span(hook.__name__):
            return await self._call(hook, permit, *arguments)

    async def _call(self, hook: Callable[..., Any], permit: Permit, *arguments: Any) -> Any:
        try:
            if _is_asynchronous(hook):
                return await hook(*arguments)
            result = await self._call_in_thread(hook, permit, *arguments)
            return await result if inspect.isawaitable(result) else result
        except ServiceError:
            raise
        except Exception as error:
            raise WorkflowError(f"the workflow's {hook.__name__} failed ({type(error).__name__})") from error

    async def _call_in_thread(self, hook: Callable[..., Any], permit: Permit, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        context = copy_context()

        def guarded() -> tuple[Any, Exception | None]:
            # a future cannot carry StopIteration, and SystemExit would end the event loop
            try:
                return context.run(hook, *arguments), None
            except Exception as error:  # noqa: BLE001 - handed to the caller, which translates it
                return None, error
            except SystemExit as error:
                return None, RuntimeError(f"the hook called sys.exit({error.code!r})")

        future = self._threads.submit(guarded)
        permit.retain()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(permit.release))
        result, error = await asyncio.wrap_future(future)
        if isinstance(error, ServiceError):
            raise error
        if error is not None:
            raise WorkflowError(f"the workflow's {hook.__name__} failed ({type(error).__name__})") from error
        return result


@contextmanager
def _naming_data() -> Iterator[None]:
    """Say which field of the request a prompt that is too long was made of."""
    try:
        yield
    except PromptLimitError as error:
        raise error.under("data") from error


@lru_cache(maxsize=128)
def _is_asynchronous(hook: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(hook)


def _next_piece(pieces: Iterator[Any], end: object) -> Any:
    return next(pieces, end)


def _checked_piece(piece: Any) -> str:
    if not isinstance(piece, str):
        raise UnserialisableOutputError(
            f"the workflow streamed {type(piece).__name__}; it must stream strings"
        )
    return piece


def checked_output(output: Any) -> str | dict[str, Any]:
    """Return a workflow's output if it is a string or an object that JSON can hold.

    Raises:
        UnserialisableOutputError: names the type that JSON cannot hold.
    """
    if not isinstance(output, str | dict):
        raise UnserialisableOutputError(
            f"the workflow returned {type(output).__name__}; it must return a string or a dict",
        )
    try:
        JSON.encode(output).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UnserialisableOutputError(f"the workflow's output is not JSON: {_reason(error)}") from error
    return output


def _reason(error: Exception) -> str:
    match error:
        case UnicodeEncodeError():  # its own message quotes the text
            return "a string holds half of a surrogate pair"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return str(error)
