"""Sampling parameters over their defaults."""

from domain.generation import SamplingParameters, Usage


def test_what_a_request_sets_goes_before_the_defaults() -> None:
    defaults = SamplingParameters(max_tokens=256, temperature=0.7, stop=("x",))

    merged = defaults.overridden_by(SamplingParameters(temperature=0, max_tokens=5))

    assert merged == SamplingParameters(max_tokens=5, temperature=0, stop=("x",))


def test_a_default_that_a_request_sets_explicitly_counts() -> None:
    merged = SamplingParameters(top_p=0.5).overridden_by(SamplingParameters(top_p=1.0))

    assert merged.top_p == 1.0


def test_without_parameters_the_defaults_stand() -> None:
    defaults = SamplingParameters(max_tokens=256)

    assert defaults.overridden_by(None) is defaults


def test_usage_adds_up() -> None:
    assert Usage(1, 2) + Usage(10, 20) == Usage(11, 22)
