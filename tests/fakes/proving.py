"""A head and a circuit that take four numbers and decide at once."""

from collections.abc import Sequence

from domain.decisions import Decision
from domain.errors import FieldProblem, InvalidRequestError
from domain.proofs import CircuitDescription, ProofResult, ProofTimings

NUM_INPUTS = 4
CALLDATA = b"\x1e\x8e\x1e\x13"


class FakeDecisionHead:
    """Prefers the second label, whatever it reads."""

    labels = ("noop", "buy", "sell")
    vector_size = NUM_INPUTS
    head_id = "h"
    embedding_size = 64

    def decide(self, embedding: Sequence[float]) -> Decision:
        return Decision(tuple(embedding[:NUM_INPUTS]), (0.0, 1.0, -1.0))


class FakeProver:
    """Proves that the answer is 1, of any four numbers."""

    circuit = CircuitDescription(
        "c",
        NUM_INPUTS,
        input_scale=8,
        takes_integers=False,
        input_visibility="hashed",
        is_srs_insecure=False,
    )

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def prove(self, inputs: Sequence[float]) -> ProofResult:
        if len(inputs) != NUM_INPUTS:
            raise InvalidRequestError(FieldProblem("inputs", f"should be {NUM_INPUTS} numbers"))
        values: dict[str, list[int | float]] = {"input_hash": [7], "outputs": [1]}
        return ProofResult("c", b"p", (7, 1), values, CALLDATA, None, ProofTimings(0, 0, 0, 0))
