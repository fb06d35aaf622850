"""What is measured: servers on the loopback, started here, and any OpenAI-compatible URL.

Each is reached at ``base_url`` while it is started. All of one machine get the same processors, the same
slots and the same model.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx2
from bench.load import Load, LoadFigures, run_load
from bench.server_process import ServerProcess, free_port, start_server

from adapters.processors import num_processors

MAX_CONTEXT_TOKENS = 2048
NUM_SLOTS = 16
MODEL = "smollm2"
"""What peers that take a name are told to call it."""


class Target(Protocol):
    """Something that takes a load."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    @property
    def is_serial(self) -> bool:
        """Whether it answers one request at a time, so that few requests tell as much as many."""
        ...

    @property
    def takes_arrivals(self) -> bool:
        """Whether a request may come at any time, so that an open loop makes sense."""
        ...

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        ...

    def stop(self) -> None:
        """Stop it."""
        ...

    def pause(self) -> None:
        """Still it while another is measured."""
        ...

    def resume(self) -> None:
        """Let it go on."""
        ...

    def run(self, load: Load) -> tuple[LoadFigures, list[str]]:
        """Take a load; returns the figures and the texts of the answers."""
        ...

    @property
    def memory_bytes(self) -> int | None:
        """Its memory now; None where that cannot be told."""
        ...


Command = Callable[[int], list[str]]
"""Makes a server's command line from its port."""


@dataclass(slots=True)
class Server:
    """A server process on the loopback with an OpenAI-compatible API."""

    name: str
    command: Command
    ready_path: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)
    is_serial: bool = False
    takes_arrivals: bool = True
    model: str = ""
    process: ServerProcess | None = None
    url: str = ""

    @property
    def base_url(self) -> str:
        """Of its API."""
        return f"{self.url}/v1"

    def start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = start_server(self.command(port), dict(self.environment))
        try:
            self.process.wait_until_ready(self.url + self.ready_path)
            self.model = first_model(self.base_url)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def pause(self) -> None:
        self.running.pause()

    def resume(self) -> None:
        self.running.resume()

    def run(self, load: Load) -> tuple[LoadFigures, list[str]]:
        return run_load(self.base_url, self.model, load)

    @property
    def memory_bytes(self) -> int | None:
        return self.running.memory_bytes

    @property
    def running(self) -> ServerProcess:
        """Its process.

        Raises:
            RuntimeError: it is not started.
        """
        if self.process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self.process


@contextmanager
def started(server: Server) -> Iterator[Server]:
    """Start a server, and stop it afterwards."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def service(name: str = "ours", *arguments: str, **settings: str) -> Server:
    """Return our service, with nothing of the developer's own settings but the model and where it runs.

    ``BENCH_SERVICE_PYTHON`` is the Python of the environment that it runs in, instead of this one: test tools
    make a process larger (structlog imports rich where there is one).
    """
    kept = ("LLM_MODEL", "LLM_MODEL_PRECISION", "LLM_CACHE_DIR", "LLM_ONNX_PROVIDER")
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key in kept or not key.startswith(("LLM_", "FLASK_LLM_"))
    }
    own = {
        "LLM_JOURNAL": "memory",
        "LLM_LOG_FORMAT": "json",
        "LLM_MAX_CONTEXT_TOKENS": str(MAX_CONTEXT_TOKENS),
        "LLM_MAX_RUNNING_SEQUENCES": str(NUM_SLOTS),
    }

    def command(port: int) -> list[str]:
        bind = f"--bind=127.0.0.1:{port}"
        python = os.environ.get("BENCH_SERVICE_PYTHON", sys.executable)
        return [python, "-m", "entrypoints.cli", "serve", bind, *arguments]

    return Server(name, command, "/health/ready", {**inherited, **own, **settings})


def llama_cpp(program: Path, gguf: Path, weights: str) -> Server:
    """Return llama.cpp's own server, built for this machine."""

    def command(port: int) -> list[str]:
        return [
            *(str(program), "--model", str(gguf), "--alias", MODEL, "--host", "127.0.0.1"),
            *("--port", str(port), "--parallel", str(NUM_SLOTS)),
            *("--ctx-size", str(NUM_SLOTS * MAX_CONTEXT_TOKENS), "--threads", str(num_processors())),
        ]

    return Server(f"llama.cpp {weights}", command, environment=dict(os.environ))


def xllamacpp(gguf: Path, weights: str) -> Server:
    """Return llama.cpp's server from the wheel ``xllamacpp``, built for any machine."""

    def command(port: int) -> list[str]:
        arguments = (str(gguf), str(port), str(NUM_SLOTS), str(MAX_CONTEXT_TOKENS))
        return [sys.executable, "-m", "bench.xllamacpp_server", *arguments]

    return Server(f"xllamacpp {weights}", command, environment=dict(os.environ))


def vllm(python: Path, checkpoint: Path, dtype: str) -> Server:
    """Return vLLM on the CPU."""

    def command(port: int) -> list[str]:
        return [
            *(str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)),
            *("--served-model-name", MODEL, "--dtype", dtype, "--host", "127.0.0.1", "--port", str(port)),
            *("--max-model-len", str(MAX_CONTEXT_TOKENS), "--max-num-seqs", str(NUM_SLOTS)),
        ]

    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    # ours are not to be imported there
    environment.pop("PYTHONPATH", None)
    return Server(f"vLLM {dtype}", command, environment=environment)


def blocking(python: Path, exported: Path) -> Server:
    """Return the original's design: optimum's ``generate`` within Hypercorn's event loop."""

    def command(port: int) -> list[str]:
        return [str(python), "-m", "bench.blocking_server", str(exported), str(port)]

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(num_processors())}
    return Server("blocking generate fp32", command, environment=environment, is_serial=True)


@dataclass(frozen=True, slots=True)
class Remote:
    """A server that somebody else runs."""

    base_url: str
    model: str
    api_key: str | None = None
    is_serial: bool = False
    takes_arrivals: bool = True

    @property
    def name(self) -> str:
        return self.base_url

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def run(self, load: Load) -> tuple[LoadFigures, list[str]]:
        return run_load(self.base_url, self.model, load, api_key=self.api_key)

    @property
    def memory_bytes(self) -> int | None:
        return None


def first_model(base_url: str, api_key: str | None = None) -> str:
    """Return the first model that a server lists; empty where it lists none."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    response = httpx2.get(f"{base_url}/models", headers=headers, timeout=30)
    if response.status_code == 404:
        return ""
    listed = response.raise_for_status().json()["data"]
    return str(listed[0]["id"]) if listed else ""


@contextmanager
def awake(server: Server) -> Iterator[Server]:
    """Let a stilled server go on for a while."""
    server.resume()
    try:
        yield server
    finally:
        server.pause()
