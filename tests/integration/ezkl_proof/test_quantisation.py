"""One rule on both sides: what the workflow quantises, the contract finds equal, and the circuit proves."""

import random

import pytest
from eth_utils.abi import function_signature_to_4byte_selector

from adapters.ezkl_proof.solidity import compile_contract
from domain.fixed_point import binary_from_decimals
from ezkl_calldata import AttestationCall, VerifyCall, encode_attestation_call, felt_from_int
from tests.contracts import NODE_MODULES, attestation_contract, store_contract
from tests.evm import Chain
from tests.integration.ezkl_proof.conftest import NUM_INPUTS, Proven
from tests.integration.ezkl_proof.test_attestation import CONSTRUCTOR, SIGNED_ARRAY
from tests.integration.ezkl_proof.test_prover import proving

NUM_VECTORS = 10_000
VECTOR_SIZE = 4
DECIMALS = 18

AGREEABLE = """
// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;
contract Agreeable {
    function verifyProof(bytes calldata, uint256[] calldata) external pure returns (bool) { return true; }
}
"""


class Comparison:
    """The contract, with a store and a verifier that accepts anything: data alone is compared."""

    def __init__(self, scale: int) -> None:
        self._chain = Chain()
        agreeable = compile_contract(AGREEABLE, "Agreeable", NODE_MODULES).bytecode
        self._verifier = self._chain.deploy(agreeable)
        self._store = self._chain.deploy(store_contract().bytecode)
        selector = function_signature_to_4byte_selector("values()")
        source = (self._store, SIGNED_ARRAY, DECIMALS, scale, VECTOR_SIZE, selector)
        arguments = ([self._verifier], [source], 0)
        self._attestation = self._chain.deploy(attestation_contract().bytecode, CONSTRUCTOR, arguments)

    def agrees(self, vector: list[int], quantised: list[int]) -> bool:
        """Tell whether the contract finds the instances equal to the vector."""
        stored = self._chain.send(self._store, "set(int256[])", vector)
        assert stored.succeeded
        call = VerifyCall(b"proof", tuple(felt_from_int(number) for number in quantised))
        verifier = bytes.fromhex(self._verifier.removeprefix("0x"))
        calldata = encode_attestation_call(AttestationCall(verifier, call))
        return self._chain.call(self._attestation, calldata).succeeded


def random_vector(source: random.Random, scale: int) -> list[int]:
    numbers = []
    for _ in range(VECTOR_SIZE):
        match source.randrange(4):
            case 0:
                numbers.append(source.randint(-(10**21), 10**21))
            case 1:
                numbers.append(source.randint(-(10**12), 10**12))
            case 2:  # a half step, and what lies beside it
                half = (2 * source.randint(-(10**4), 10**4) + 1) * 10**DECIMALS // 2 ** (scale + 1)
                numbers.append(half + source.randint(-1, 1))
            case _:
                numbers.append(source.choice([0, 1, -1, 2**127, -(2**127), 10**18, -(10**18)]))
    return numbers


@pytest.mark.parametrize("scale", [0, 7, 8, 20])
def test_the_contract_agrees_with_the_workflow_about_random_vectors(scale: int) -> None:
    source = random.Random(scale)  # noqa: S311 - repeatable on purpose
    comparison = Comparison(scale)
    for _ in range(NUM_VECTORS // 4):
        vector = random_vector(source, scale)
        quantised = [binary_from_decimals(number, DECIMALS, scale) for number in vector]

        assert comparison.agrees(vector, quantised), vector
        if source.random() < 0.05:
            assert not comparison.agrees(vector, [quantised[0] + 1, *quantised[1:]])


def test_the_rule_is_many_to_one() -> None:
    step = 10**DECIMALS // 2**8
    assert {binary_from_decimals(number, DECIMALS, 8) for number in range(step, step + 1000)} == {1}


async def test_the_circuit_proves_the_very_integers_that_were_quantised(public: Proven) -> None:
    async with proving(public.circuit) as prover:
        scale = prover.circuit.input_scale
        source = random.Random(5)  # noqa: S311 - repeatable on purpose
        for _ in range(5):
            vector = [source.randint(-4 * 10**18, 4 * 10**18) for _ in range(NUM_INPUTS)]
            quantised = [binary_from_decimals(number, DECIMALS, scale) for number in vector]
            result = await prover.prove([number / 2**scale for number in quantised])

            assert list(result.instances[:NUM_INPUTS]) == [felt_from_int(number) for number in quantised]
