"""llama.cpp's server from the wheel ``xllamacpp``, on a port of the loopback.

Usage: python -m bench.xllamacpp_server MODEL.gguf PORT NUM_SLOTS CONTEXT_LENGTH
"""

import signal
import sys

import xllamacpp

from adapters.processors import num_processors


def main(model: str, port: str, num_slots: str, context_length: str) -> None:
    """Serve until told to end."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_parallel = int(num_slots)
    params.n_ctx = int(num_slots) * int(context_length)
    params.cpuparams.n_threads = num_processors()
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
