"""The composition root: the one place that knows which adapter stands behind which port.

Everything is built here by hand from the settings; adapters are imported when they are chosen, so that a
backend that is not used costs nothing.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog

from adapters.infernet import build_codec
from adapters.processors import num_processors
from adapters.settings import Backend, JournalKind, Settings, WorkflowSettings
from adapters.telemetry.metrics import Metrics
from domain.direct_runner import DirectRunner
from domain.drain import Drain
from domain.errors import ConfigurationError, ServiceError
from domain.generation import Capability
from domain.job_service import JobOptions, JobService
from domain.metering import MeteredLabelScorer, MeteredTextEmbedder, MeteredTextGenerator
from domain.ports import (
    DecisionHead,
    Journal,
    LabelScorer,
    ProofVerifier,
    Prover,
    TextEmbedder,
    TextGenerator,
)
from domain.rate_limit import RateLimits
from domain.runner import RunnerLimits, WorkflowRunner
from domain.served_workflow import ServedWorkflow
from domain.telemetry import ObservedProver, ObservedTextGenerator
from domain.traced_generation import TracedTextGenerator
from domain.tracing import NO_TRACES, Tracer
from domain.workflow import WorkflowPorts
from entrypoints.engine_failure import end_broken_process
from entrypoints.job_charges import JobCharges
from entrypoints.job_log import JobLog, JobObservers
from entrypoints.start_failure import somebody_told
from entrypoints.worker_process import RETIREMENT_S, Worker
from entrypoints.workflow_classes import code_digest, construct_workflow, find_workflow_class

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

DEFAULT_WORKFLOW_NAME = "default"
MAX_DEFAULT_PROOF_WORKERS = 4
"""Each takes the memory of a proof; the threads are shared between them."""


@dataclass(frozen=True, slots=True)
class Container:
    """The wired service. ``open`` before the first request, ``close`` after the last."""

    settings: Settings
    generator: TextGenerator
    direct: DirectRunner
    """The generator without a workflow."""
    decision_head: DecisionHead | None
    prover: Prover | None
    verifier: ProofVerifier | None
    """Of the prover's circuit."""
    workflows: dict[str, ServedWorkflow]
    """By name; ``DEFAULT_WORKFLOW_NAME`` is the one at ``/service_output``."""
    jobs: JobService
    metrics: Metrics
    drain: Drain
    """Begun by who closes the connections."""
    rate_limits: RateLimits
    """Of the bearers of tokens."""
    tracer: Tracer
    """Of the process: opened and closed by others."""
    worker: Worker | None
    """The process itself; None where it is none of a launcher's workers."""

    async def open(self) -> None:
        """Load the model and set the workflows up.

        Raises:
            ConfigurationError: something can never work as it is configured.
        """
        await self.generator.open()
        try:
            if self.prover is not None:
                await self.prover.open()
                if self.prover.circuit.is_srs_insecure:
                    log.warning(
                        "proofs of this circuit can be forged: its reference string is for tests only",
                        circuit_id=self.prover.circuit.circuit_id,
                    )
            if self.verifier is not None:
                await self.verifier.open()
            ports = self._ports()
            for workflow in self.workflows.values():
                await workflow.open(ports)
            await self.jobs.open()
        except ServiceError:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop the jobs, close the workflows, then the backend; once what is under way has ended."""
        await self.drain.finished()
        if self._is_retired:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETIREMENT_S):
                    await self.jobs.finish()
        await self.jobs.close()
        for workflow in self.workflows.values():
            await workflow.close()
        if self.prover is not None:
            await self.prover.close()
        await self.generator.close()

    @property
    def is_stopping(self) -> bool:
        """Whether the service ends, and not this process alone."""
        return self.drain.has_begun and not self._is_retired

    @property
    def _is_retired(self) -> bool:
        return self.worker is not None and self.worker.is_retired

    def _ports(self) -> WorkflowPorts:
        offers_scores = Capability.LABEL_SCORES in self.generator.capabilities
        scorer = self.generator if offers_scores and isinstance(self.generator, LabelScorer) else None
        offers_embeddings = Capability.EMBEDDINGS in self.generator.capabilities
        embedder = self.generator if offers_embeddings and isinstance(self.generator, TextEmbedder) else None
        return WorkflowPorts(
            generator=MeteredTextGenerator(self.generator, self.settings.max_output_tokens),
            label_scorer=MeteredLabelScorer(scorer) if scorer is not None else None,
            embedder=MeteredTextEmbedder(embedder) if embedder is not None else None,
            decision_head=self.decision_head,
            prover=self.prover,
            default_parameters=self.settings.sampling_defaults,
            loop=asyncio.get_running_loop(),
        )


def build_container(
    settings: Settings,
    *,
    generator: TextGenerator | None = None,
    engine_socket: Path | None = None,
    tracer: Tracer = NO_TRACES,
    worker: Worker | None = None,
) -> Container:
    """Wire the service.

    Args:
        settings: what to wire.
        engine_socket: where the process that has the backend listens; None: this one has it.
        generator: stands in for the backend that the settings name; for tests.
        tracer: told of requests; see ``build_tracer``.
        worker: this process, where it is one of a launcher's workers.

    Raises:
        ConfigurationError: a workflow class or a backend's settings cannot work.
    """
    limits = runner_limits(settings)
    named = {DEFAULT_WORKFLOW_NAME: settings.default_workflow, **settings.workflows}
    workflows = {name: _served(name, declared, limits, settings, tracer) for name, declared in named.items()}
    options = JobOptions(
        max_running=settings.max_running_jobs,
        max_attempts=settings.job_max_attempts,
        lease_s=settings.job_lease_s,
        retention_s=settings.job_retention_s,
        request_timeout_s=settings.request_timeout_s,
    )
    metrics = Metrics(settings.metrics_prefix)
    backend = generator or _backend(settings, engine_socket, metrics, tracer)
    prover = build_prover(settings, tracer)
    rate_limits = build_rate_limits(settings, 1 if worker is None else worker.num_workers)
    observers = JobObservers(JobLog(), metrics, JobCharges(rate_limits))
    return Container(
        settings,
        backend,
        DirectRunner(backend, limits),
        build_decision_head(settings),
        None if prover is None else ObservedProver(prover, metrics),
        build_verifier(settings),
        workflows,
        JobService(build_journal(settings), workflows, options, observers, tracer=tracer),
        metrics,
        limits.drain,
        rate_limits,
        tracer,
        worker,
    )


def runner_limits(settings: Settings) -> RunnerLimits:
    """Return the bounds on the work that is accepted."""
    return RunnerLimits(
        request_timeout_s=settings.request_timeout_s,
        max_concurrent_requests=settings.max_concurrent_requests,
        max_hook_threads=settings.max_hook_threads,
        max_output_tokens=settings.max_output_tokens,
    )


def build_rate_limits(settings: Settings, num_workers: int) -> RateLimits:
    """Build the share of one of so many workers in what the bearers of tokens may ask in a minute."""
    return RateLimits({token.owner: token.rate_limit.share(num_workers) for token in settings.access_tokens})


def build_tracer(settings: Settings) -> Tracer:
    """Build what is told of requests; once a process, since it has a thread."""
    if not settings.has_traces:
        return NO_TRACES
    from adapters.telemetry.traces import OpenTelemetryTracer

    return OpenTelemetryTracer(settings.service_id, settings.traces_url)


def _backend(
    settings: Settings, engine_socket: Path | None, metrics: Metrics, tracer: Tracer
) -> TextGenerator:
    if engine_socket is None:
        return build_generator(settings, metrics, tracer)
    from adapters.openai_http.engine import EngineTextGenerator

    def headers() -> dict[str, str]:
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        return tracer.headers() | ({} if request_id is None else {"X-Request-ID": request_id})

    return EngineTextGenerator(engine_socket, will_never_start=somebody_told, headers=headers)


def _served(
    name: str, declared: WorkflowSettings, limits: RunnerLimits, settings: Settings, tracer: Tracer
) -> ServedWorkflow:
    workflow = construct_workflow(declared)
    chain_format = declared.chain or workflow.chain_format
    codec = build_codec(chain_format)
    declaration = repr(
        (
            version("llm-inference-service"),
            name,
            declared.model_dump_json(),
            chain_format.model_dump_json(),
            settings.sampling_defaults.model_dump_json(),
            settings.max_output_tokens,
            settings.backend,
            settings.max_context_tokens,
            (settings.verifier_address or "").lower(),
            code_digest(find_workflow_class(declared.class_path), type(codec)),
        )
    )
    return ServedWorkflow(WorkflowRunner(name, workflow, limits, tracer), codec, declaration)


def build_journal(settings: Settings) -> Journal:
    """Build the journal that the settings name."""
    from adapters.journal import MemoryJournal, SqliteJournal, SqliteOptions

    match settings.journal:
        case JournalKind.MEMORY:
            return MemoryJournal(keeps_input=settings.journal_keeps_input)
        case JournalKind.SQLITE:
            options = SqliteOptions(settings.journal_max_mib << 20, keeps_input=settings.journal_keeps_input)
            return SqliteJournal(settings.journal_path.expanduser(), options)


def build_generator(settings: Settings, metrics: Metrics, tracer: Tracer = NO_TRACES) -> TextGenerator:
    """Build the backend that the settings name; metrics and tracer are told of its work.

    Raises:
        ConfigurationError: its settings are incomplete, or its packages are not installed.
    """
    observed = ObservedTextGenerator(_chosen_generator(settings, metrics, tracer), metrics)
    if tracer is NO_TRACES:
        return observed
    is_remote = settings.backend is Backend.OPENAI
    return TracedTextGenerator(observed, tracer, settings.backend.value, is_remote=is_remote)


def _chosen_generator(settings: Settings, metrics: Metrics, tracer: Tracer) -> TextGenerator:
    match settings.backend:
        case Backend.ONNXRUNTIME:
            return _onnx_generator(settings, metrics, tracer)
        case Backend.OPTIMUM:
            return _optimum_generator(settings)
        case Backend.OPENAI:
            return _openai_generator(settings, tracer)
        case Backend.SCRIPTED:
            from adapters.scripted import ScriptedTextGenerator

            return ScriptedTextGenerator(
                reply=settings.scripted_reply,
                delay_s=settings.scripted_delay_s,
                max_prompt_tokens=settings.max_prompt_tokens,
            )


def build_decision_head(settings: Settings) -> DecisionHead | None:
    """Load the decision head that the settings name; None where they name none.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    if settings.decision_head is None:
        return None
    from adapters.decision_head import OnnxDecisionHead

    return OnnxDecisionHead(settings.decision_head.expanduser())


def build_prover(settings: Settings, tracer: Tracer = NO_TRACES) -> Prover | None:
    """Build the prover of the circuit that the settings name; None where they name none."""
    if settings.circuit is None:
        return None
    from adapters.ezkl_proof.prover import EzklProver, ProverOptions

    num_cores = num_processors()
    num_workers = settings.proof_workers or min(num_cores, MAX_DEFAULT_PROOF_WORKERS)
    address = settings.verifier_address
    options = ProverOptions(
        num_workers=num_workers,
        num_threads=settings.proof_threads or max(1, num_cores // num_workers),
        timeout_s=settings.proof_timeout_s,
        max_waiting=settings.max_waiting_proofs,
        max_memory_bytes=settings.proof_memory_mib << 20,
        verifier_address=None if address is None else bytes.fromhex(address.removeprefix("0x")),
    )
    return EzklProver(settings.circuit.expanduser(), options, tracer)


def build_verifier(settings: Settings) -> ProofVerifier | None:
    """Build what checks proofs of the circuit that the settings name; None where they name none."""
    if settings.circuit is None:
        return None
    from adapters.ezkl_proof.verifier import EzklVerifier, VerifierOptions

    options = VerifierOptions(settings.proof_timeout_s, settings.max_waiting_proofs)
    return EzklVerifier(settings.circuit.expanduser(), options)


def _onnx_generator(settings: Settings, metrics: Metrics, tracer: Tracer) -> TextGenerator:
    from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
    from adapters.onnx.builder import SilentReporter
    from adapters.onnx.providers import ProviderChoice
    from entrypoints.model_source import prepare_model

    model = prepare_model(settings, SilentReporter())
    return OnnxTextGenerator(
        model.folder,
        model.model_id,
        OnnxOptions(
            provider=ProviderChoice(settings.onnx_provider),
            num_threads=settings.num_threads,
            max_running_sequences=settings.max_running_sequences,
            max_waiting_requests=settings.max_waiting_requests,
            max_waiting_tokens=settings.max_waiting_tokens,
            max_context_tokens=settings.max_context_tokens,
            max_prompt_tokens=settings.max_prompt_tokens,
            prefill_chunk_tokens=settings.prefill_chunk_tokens,
            max_prefill_stall=settings.max_prefill_stall,
            prefix_cache_bytes=settings.prefix_cache_mib << 20,
            max_draft_tokens=settings.lookup_tokens,
            max_step_s=settings.max_step_s,
            max_wait_s=settings.request_timeout_s,
        ),
        partial(metrics.of_engine, model.model_id),
        end_broken_process,
        tracer=tracer,
    )


def _optimum_generator(settings: Settings) -> TextGenerator:
    from adapters.onnx.builder import SilentReporter
    from adapters.onnx.providers import CPU, CUDA
    from entrypoints.model_export import prepare_export

    model = prepare_export(settings, SilentReporter())
    from adapters.optimum import OptimumTextGenerator  # after the message about what is not installed

    return OptimumTextGenerator(
        model.folder,
        model.model_id,
        provider=CUDA if settings.onnx_provider == "cuda" else CPU,
        max_waiting=settings.max_waiting_requests,
        max_prompt_tokens=settings.max_prompt_tokens,
    )


def _openai_generator(settings: Settings, tracer: Tracer) -> TextGenerator:
    from adapters.openai_http.generator import OpenAITextGenerator

    if settings.openai_base_url is None:
        raise ConfigurationError("LLM_BACKEND=openai needs LLM_OPENAI_BASE_URL, e.g. http://host:8000/v1")
    if settings.max_prompt_tokens is not None:
        raise ConfigurationError(
            "LLM_MAX_PROMPT_TOKENS needs a backend that counts tokens before it answers: LLM_BACKEND=openai "
            "does not, so set the limit on its server"
        )
    return OpenAITextGenerator(
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
        model=settings.openai_model,
        embedding_model=settings.openai_embedding_model,
        connect_timeout_s=settings.openai_connect_timeout_s,
        read_timeout_s=settings.openai_read_timeout_s,
        max_retries=settings.openai_max_retries,
        headers=tracer.headers,
    )
