"""llama.cpp's own OpenAI-compatible server, from the wheel ``xllamacpp``, in a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = re.compile(r"^http://\S+$")


@contextmanager
def llama_server(
    model: Path, *, num_slots: int = 4, context_length: int = 1024, embeds: bool = False
) -> Iterator[str]:
    """Serve a GGUF file (embeddings alone, where asked); yields the base URL of the API."""
    command = [sys.executable, __file__, str(model), str(num_slots), str(context_length * num_slots)]
    command += ["embeds"] if embeds else []
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = next((line.strip() for line in process.stdout if ADDRESS.match(line)), None)
        assert address is not None, "llama.cpp's server did not start"
        yield f"{address}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def main(model: str, num_slots: str, context_length: str, mode: str = "") -> None:
    """Serve until stdin closes."""
    import xllamacpp  # noqa: PLC0415 - in the child alone

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = int(num_slots)
    params.n_ctx = int(context_length)
    params.kv_unified = False
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.cache_prompt = False
    if mode == "embeds":
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
