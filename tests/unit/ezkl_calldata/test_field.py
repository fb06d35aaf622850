"""Felts and the numbers they stand for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezkl_calldata import (
    MODULUS,
    CalldataError,
    felt_from_ezkl_hex,
    felt_from_int,
    felt_to_ezkl_hex,
    fixed_point_from_real,
    int_from_felt,
    real_from_fixed_point,
)


@given(st.integers(-(MODULUS // 2), MODULUS // 2))
def test_a_signed_integer_reads_back(number: int) -> None:
    assert int_from_felt(felt_from_int(number)) == number


@given(st.integers(0, MODULUS - 1))
def test_a_felt_reads_back_from_ezkls_hex(felt: int) -> None:
    assert felt_from_ezkl_hex(felt_to_ezkl_hex(felt)) == felt


@pytest.mark.parametrize("number", [MODULUS // 2 + 1, -(MODULUS // 2) - 1, MODULUS])
def test_an_integer_whose_sign_would_be_lost_is_refused(number: int) -> None:
    with pytest.raises(CalldataError):
        felt_from_int(number)


@pytest.mark.parametrize(
    ("number", "scale", "expected"),
    [
        (1.0, 7, 128),
        (-1.0, 7, -128),
        (0.5 / 128, 7, 1),
        (-0.5 / 128, 7, -1),
        (0.49 / 128, 7, 0),
        (3.0, 0, 3),
        (2.5, 0, 3),
        (-0.0, 7, 0),
        (1e30, 7, 1e30 * 128),
    ],
)
def test_reals_are_rounded_half_away_from_zero(number: float, scale: int, expected: float) -> None:
    assert fixed_point_from_real(number, scale) == expected


@given(st.floats(-1e6, 1e6), st.integers(0, 40))
def test_a_real_comes_back_within_half_a_step(number: float, scale: int) -> None:
    restored = real_from_fixed_point(fixed_point_from_real(number, scale), scale)

    assert abs(restored - number) <= 0.5 / 2**scale + abs(number) * 1e-15


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(CalldataError, match="finite"):
        fixed_point_from_real(number, 7)


@pytest.mark.parametrize("scale", [-1, 129])
def test_a_scale_out_of_range_is_refused(scale: int) -> None:
    with pytest.raises(CalldataError, match="scale"):
        fixed_point_from_real(1.0, scale)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "zz" * 32,
        "00" * 31,
        "00" * 33,
        " " + "00" * 32,
        "00 " * 32,
        MODULUS.to_bytes(32, "little").hex(),
    ],
)
def test_hex_that_is_no_felt_is_refused(text: str) -> None:
    with pytest.raises(CalldataError):
        felt_from_ezkl_hex(text)


@pytest.mark.parametrize("felt", [-1, MODULUS])
def test_what_is_outside_of_the_field_is_refused(felt: int) -> None:
    with pytest.raises(CalldataError):
        int_from_felt(felt)
    with pytest.raises(CalldataError):
        felt_to_ezkl_hex(felt)
