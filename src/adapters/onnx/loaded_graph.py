"""A graph that ONNX Runtime has loaded, and its runs with keys and values bound to memory."""

import os
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from adapters.onnx.providers import (
    CPU,
    CUDA,
    ProviderChoice,
    has_cuda_device,
    provider_in_use,
    providers_to_try,
)
from adapters.onnx.sampler import Floats, Ints
from domain.errors import BackendError, ConfigurationError

DISABLE_TILED_ATTENTION = "ORT_GQA_DISABLE_FLASH_ATTENTION"
"""Read by ONNX Runtime as it loads a graph for the CPU; 0 in the environment turns the tiled attention on."""
SHARED_ALLOCATOR = "session.use_env_allocators"
"""One arena for what the passes of all sessions compute, since one runs at a time."""
SHRINK_ARENA = "memory.enable_memory_arena_shrinkage"
"""Of a run: what the arena does not use once it is over goes back."""
STOP_SPINNING = "session.force_spinning_stop"
"""Each session has threads of its own. Those that wait for work beyond a run take the processor from the
session that runs next, and from the event loop."""


class LoadedGraph:
    """A session of ONNX Runtime.

    Args:
        model_file: the graph.
        choice: where to run it.
        num_threads: within one operator.

    Raises:
        ConfigurationError: it cannot be loaded.
    """

    def __init__(self, model_file: Path, choice: ProviderChoice, num_threads: int) -> None:
        self._session = _load(model_file, choice, num_threads)
        self.provider = provider_in_use(choice, self._session.get_providers())
        self.input_types: dict[str, str] = {node.name: node.type for node in self._session.get_inputs()}
        """Of those that must be fed, as ONNX Runtime prints them: ``tensor(float)``."""
        self.optional_inputs = {node.name for node in self._session.get_overridable_initializers()}

    def binding(self, output: str) -> "Binding":
        """Return a binding that fetches this output."""
        return Binding(self._session, output, self.optional_inputs, reads_in_place=self.provider == CPU)


class Binding:
    """What runs of a graph have in common: the memory of keys and values, and the output to fetch.

    Args:
        session: of ONNX Runtime.
        output: its name.
        optional_inputs: those with a value of their own.
        reads_in_place: whether runs read arrays where they lie; otherwise binding copies them.
    """

    def __init__(
        self, session: Any, output: str, optional_inputs: Collection[str] = (), *, reads_in_place: bool
    ) -> None:
        self._session = session
        self._output = output
        self._optional_inputs = optional_inputs
        self._reads_in_place = reads_in_place
        self._fed: dict[str, Ints] = {}
        self._result: Floats | None = None
        self._binding = session.io_binding()
        self._bind_result(None)  # first, so that it is output 0

    def bind_in_place(
        self, past: str, present: str, *, device_type: str, dtype: Any, shape: Sequence[int], address: int
    ) -> None:
        """Bind an input and an output to the same memory."""
        self._binding.bind_input(past, device_type, 0, dtype, shape, address)
        self._binding.bind_output(present, device_type, 0, dtype, shape, address)

    def run(
        self, inputs: Mapping[str, Ints], result: Floats | None = None, *, gives_back: bool = False
    ) -> Floats:
        """Feed the other inputs, and return the output.

        Args:
            inputs: by name; an array that was fed before may hold something else by now.
            result: where to write the output, an array of its shape; None: where ONNX Runtime takes memory.
            gives_back: whether to give back the memory that this and earlier passes computed in; on the CPU.

        Raises:
            BackendError: the run failed.
        """
        for name, value in inputs.items():
            if self._fed.get(name) is not value:
                if name in self._optional_inputs:  # which bind_cpu_input does not know; it is far quicker
                    self._binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
                else:
                    self._binding.bind_cpu_input(name, value)
                if self._reads_in_place:
                    self._fed[name] = value
        if result is not self._result:
            self._bind_result(result)
        try:
            self._session.run_with_iobinding(self._binding, _shrinking() if gives_back else None)
            if result is not None:
                return result
            # get_outputs would wrap the keys and values of every layer, which takes half a millisecond
            return np.asarray(self._binding.get_outputs_as_ortvaluevector()[0].numpy(), np.float32)
        except Exception as error:  # its exceptions have no common base but this
            raise BackendError(f"ONNX Runtime failed: {type(error).__name__}") from error
        finally:
            if result is None:  # shapes differ from run to run, and each binding would keep its last output
                self._bind_result(None)

    def _bind_result(self, result: Floats | None) -> None:
        self._result = result
        if result is None:
            self._binding.bind_output(self._output, "cpu")
        else:
            address = result.ctypes.data
            self._binding.bind_output(self._output, "cpu", 0, result.dtype, result.shape, address)


def _shrinking() -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry(SHRINK_ARENA, "cpu:0")
    return options


@cache
def _share_arena() -> None:
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, None)


def _load(model_file: Path, choice: ProviderChoice, num_threads: int) -> Any:
    # the plain attention takes half the time of the tiled one for a prompt, and no more for a decode step
    os.environ.setdefault(DISABLE_TILED_ATTENTION, "1")
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # plans for one shape; passes have many, and it takes 10 MiB
    options.add_session_config_entry(STOP_SPINNING, "1")
    _share_arena()
    options.add_session_config_entry(SHARED_ALLOCATOR, "1")
    providers = providers_to_try(choice, ort.get_available_providers(), has_cuda_device=has_cuda_device())
    if CUDA in providers:
        ort.preload_dlls()  # CUDA and cuDNN from NVIDIA's wheels, where they are installed
    try:
        return ort.InferenceSession(str(model_file), options, providers=list(providers))
    except Exception as error:  # its exceptions have no common base but this
        raise ConfigurationError(f"ONNX Runtime cannot load {model_file}: {error}") from error
