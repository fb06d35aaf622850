"""EZKL's dictionaries and files, made plain."""

from typing import Any

import pytest

from ezkl_calldata import (
    MODULUS,
    CalldataError,
    InstanceGroup,
    felt_from_int,
    felt_to_ezkl_hex,
    instance_layout,
    read_proof,
    read_vka,
    write_vka,
)

ONE = felt_to_ezkl_hex(1)


def test_a_proof_is_bytes_and_felts() -> None:
    proof = read_proof({"instances": [[ONE], [felt_to_ezkl_hex(2)]], "proof": [1, 255]})

    assert proof.data == b"\x01\xff"
    assert proof.instances == (1, 2)


def test_the_older_form_of_a_proof_is_hex() -> None:
    assert read_proof({"instances": [[]], "proof": "0x01ff"}).data == b"\x01\xff"


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"instances": [[ONE]]},
        {"instances": ONE, "proof": [1]},
        {"instances": [ONE], "proof": [1]},
        {"instances": [[1]], "proof": [1]},
        {"instances": [[ONE]], "proof": [256]},
        {"instances": [[ONE]], "proof": [True]},
        {"instances": [[ONE]], "proof": ["1"]},
        {"instances": [[ONE]], "proof": "xyz"},
        {"instances": [[MODULUS.to_bytes(32, "little").hex()]], "proof": [1]},
    ],
)
def test_another_form_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(CalldataError):
        read_proof(raw)


def settings(input_visibility: Any, output_visibility: Any, **fields: Any) -> dict[str, Any]:
    run_args = {"input_visibility": input_visibility, "output_visibility": output_visibility}
    scales = {"model_input_scales": [7], "model_output_scales": [0]}
    return {"run_args": run_args, **scales, **fields}


HASHED = {"Hashed": {"hash_is_public": True, "outlets": []}}


def test_a_hashed_input_is_one_hash_and_integers_are_integers() -> None:
    layout = instance_layout(settings(HASHED, "Public", model_instance_shapes=[[1]]))

    assert layout.groups == (InstanceGroup("input_hash", 1, None), InstanceGroup("outputs", 1, 0))
    assert layout.values([12345, 2]) == {"input_hash": [12345], "outputs": [2]}


def test_public_values_are_reals_with_their_sign() -> None:
    layout = instance_layout(
        settings("Public", "Public", model_instance_shapes=[[1, 2], [1]], model_output_scales=[3])
    )

    assert layout.values([felt_from_int(-64), 128, 12]) == {"inputs": [-0.5, 1.0], "outputs": [1.5]}


def test_private_values_have_no_instances() -> None:
    layout = instance_layout(settings("Private", "Public", model_instance_shapes=[[3]]))

    assert layout.num_instances == 3


@pytest.mark.parametrize("instances", [[], [1], [1, 2, 3], [1, MODULUS]])
def test_instances_that_do_not_fit_the_circuit_are_refused(instances: list[int]) -> None:
    layout = instance_layout(settings(HASHED, "Public", model_instance_shapes=[[1]]))

    with pytest.raises(CalldataError):
        layout.values(instances)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        settings("Public", "Public", model_instance_shapes=[]),
        settings("Odd", "Public", model_instance_shapes=[]),
    ],
)
def test_settings_of_an_unknown_form_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(CalldataError):
        instance_layout(raw)


def test_a_verifying_key_artefact_reads_back() -> None:
    words = (bytes(32), b"\1" * 32)

    assert read_vka(write_vka(words)) == words


@pytest.mark.parametrize("content", [b"", b"\1", b"\1" + bytes(7), bytes(7), bytes(8) + b"\0"])
def test_a_verifying_key_artefact_of_another_length_is_refused(content: bytes) -> None:
    with pytest.raises(CalldataError):
        read_vka(content)
    with pytest.raises(CalldataError):
        write_vka([bytes(31)])
