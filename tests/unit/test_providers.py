"""Which execution provider is asked for, and whether it was given."""

import pytest

from adapters.onnx.builder import Precision
from adapters.onnx.providers import CPU, CUDA, ProviderChoice, provider_in_use, providers_to_try
from adapters.settings import Settings
from domain.errors import ConfigurationError
from entrypoints.model_source import precision_of

BOTH = ["TensorrtExecutionProvider", CUDA, CPU]


@pytest.mark.parametrize(
    ("choice", "available", "has_cuda_device", "expected"),
    [
        (ProviderChoice.AUTO, BOTH, True, (CUDA, CPU)),
        (ProviderChoice.AUTO, BOTH, False, (CPU,)),
        (ProviderChoice.AUTO, [CPU], True, (CPU,)),
        (ProviderChoice.CUDA, BOTH, False, (CUDA, CPU)),
        (ProviderChoice.CPU, BOTH, True, (CPU,)),
    ],
)
def test_providers_to_try(
    choice: ProviderChoice, available: list[str], has_cuda_device: bool, expected: tuple[str, ...]
) -> None:
    assert providers_to_try(choice, available, has_cuda_device=has_cuda_device) == expected


def test_cuda_without_its_provider_installed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="install onnxruntime-gpu"):
        providers_to_try(ProviderChoice.CUDA, [CPU], has_cuda_device=True)


def test_the_session_tells_what_is_really_used() -> None:
    assert provider_in_use(ProviderChoice.AUTO, [CUDA, CPU]) == CUDA
    assert provider_in_use(ProviderChoice.AUTO, [CPU]) == CPU


def test_a_session_that_fell_back_from_cuda_is_refused_where_cuda_was_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="did not load"):
        provider_in_use(ProviderChoice.CUDA, [CPU])


@pytest.mark.parametrize(
    ("named", "provider", "expected"),
    [
        ("auto", "cpu", Precision.INT8_SMOOTH),
        ("auto", "cuda", Precision.INT8_BLOCK),
        ("int4_block", "cuda", Precision.INT4_BLOCK),
        ("int8_smooth", "cuda", Precision.INT8_SMOOTH),
    ],
)
def test_weights_suit_where_the_model_will_run(named: str, provider: str, expected: Precision) -> None:
    settings = Settings(_env_file=None, LLM_MODEL_PRECISION=named, LLM_ONNX_PROVIDER=provider)

    assert precision_of(settings) is expected
