"""Which execution provider the session is asked for, and whether it was really given."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from domain.errors import ConfigurationError

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


class ProviderChoice(StrEnum):
    """The setting: where the model is to run."""

    AUTO = "auto"
    """CUDA where a device is present and the provider loads, else the CPU."""
    CUDA = "cuda"
    """CUDA, or no start."""
    CPU = "cpu"


def has_cuda_device() -> bool:
    """Tell whether the operating system shows an NVIDIA device."""
    return any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/dxg"))


def prefers_cuda(choice: ProviderChoice) -> bool:
    """Tell whether a model is to be built for CUDA: it is wanted, or a device is there for ``auto``."""
    return choice is ProviderChoice.CUDA or (choice is ProviderChoice.AUTO and has_cuda_device())


def providers_to_try(
    choice: ProviderChoice, available: Sequence[str], *, has_cuda_device: bool
) -> tuple[str, ...]:
    """Return the providers for ``InferenceSession``, the preferred one first.

    ``available`` is what ONNX Runtime was built with: it lists CUDA on machines without a GPU too, so
    ``has_cuda_device`` decides there.

    Raises:
        ConfigurationError: CUDA is wanted, and the installed ONNX Runtime was built without it.
    """
    if choice is ProviderChoice.CUDA and CUDA not in available:
        raise ConfigurationError(
            "LLM_ONNX_PROVIDER=cuda, but the installed ONNX Runtime has no CUDA provider: "
            "install onnxruntime-gpu, or set LLM_ONNX_PROVIDER=cpu",
        )
    wants_cuda = choice is ProviderChoice.CUDA or (
        choice is ProviderChoice.AUTO and CUDA in available and has_cuda_device
    )
    return (CUDA, CPU) if wants_cuda else (CPU,)


def provider_in_use(choice: ProviderChoice, session_providers: Sequence[str]) -> str:
    """Return the provider that the session really runs on.

    ``session_providers`` is ``InferenceSession.get_providers()``, the one source that tells the truth.

    Raises:
        ConfigurationError: CUDA is wanted, and the session fell back to the CPU.
    """
    provider = session_providers[0]
    if choice is ProviderChoice.CUDA and provider != CUDA:
        raise ConfigurationError(
            "LLM_ONNX_PROVIDER=cuda, but the CUDA provider did not load (driver, CUDA or cuDNN libraries "
            "missing?): ONNX Runtime's own message is in the log above; or set LLM_ONNX_PROVIDER=auto",
        )
    return provider
