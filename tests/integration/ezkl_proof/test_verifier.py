"""The verifier on real circuits: proofs of each kind, and each way that a check can end otherwise."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.ezkl_proof.circuit_folder import VERIFYING_KEY
from adapters.ezkl_proof.verifier import EzklVerifier, VerifierOptions
from domain.errors import (
    ConfigurationError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ProverError,
    UnavailableError,
)
from ezkl_calldata import VerifyCall, encode_verify_call
from tests.integration.ezkl_proof.conftest import Proven


async def verifying(circuit: Path, **options: Any) -> EzklVerifier:
    verifier = EzklVerifier(circuit, VerifierOptions(**options))
    await verifier.open()
    return verifier


def calldata_of(case: Proven) -> bytes:
    return encode_verify_call(VerifyCall(case.proof.data, case.proof.instances))


def checking_children() -> int:
    """Count the processes of this one that check a proof."""
    tasks = Path("/proc/self/task").iterdir()
    pids = [pid for task in tasks for pid in (task / "children").read_text().split()]
    lines = [Path(f"/proc/{pid}/cmdline") for pid in pids]
    return sum("ezkl_proof.verification" in line.read_text() for line in lines if line.exists())


@pytest.mark.parametrize("name", ["hashed", "public", "integers"])
async def test_a_proof_of_the_circuit_holds_and_is_decoded(name: str, request: pytest.FixtureRequest) -> None:
    case: Proven = request.getfixturevalue(name)
    verifier = await verifying(case.circuit)

    verdict = await verifier.verify(calldata_of(case))

    assert verdict.holds
    assert verdict.instances == case.proof.instances
    assert verdict.values is not None
    assert sum(map(len, verdict.values.values())) == len(case.proof.instances)


async def test_a_proof_of_another_circuit_does_not_hold(hashed: Proven, integers: Proven) -> None:
    verifier = await verifying(integers.circuit)

    assert not (await verifier.verify(calldata_of(hashed))).holds


async def test_what_is_no_calldata_names_the_field(hashed: Proven) -> None:
    verifier = await verifying(hashed.circuit)

    with pytest.raises(InvalidRequestError, match="calldata: this is no call of verifyProof"):
        await verifier.verify(b"\x00" * 36)


async def test_no_more_wait_than_may(hashed: Proven) -> None:
    verifier = await verifying(hashed.circuit, max_waiting=1)
    calldata = calldata_of(hashed)

    outcomes = await asyncio.gather(*(verifier.verify(calldata) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes].count(OverloadedError) == 1
    assert (await verifier.verify(calldata)).holds


async def test_a_check_that_takes_too_long_or_is_cancelled_leaves_no_process(hashed: Proven) -> None:
    verifier = await verifying(hashed.circuit, timeout_s=0.02)
    with pytest.raises(DeadlineExceededError):
        await verifier.verify(calldata_of(hashed))
    assert checking_children() == 0

    patient = await verifying(hashed.circuit)
    check = asyncio.create_task(patient.verify(calldata_of(hashed)))
    while checking_children() == 0:
        await asyncio.sleep(0.001)
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    assert checking_children() == 0
    assert (await patient.verify(calldata_of(hashed))).holds


async def test_a_process_that_fails_is_no_verdict(hashed: Proven, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = await verifying(hashed.circuit)
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(ProverError, match="ended"):
        await verifier.verify(calldata_of(hashed))


async def test_before_its_time_it_checks_nothing_and_a_damaged_circuit_stops_it(
    hashed: Proven, tmp_path: Path
) -> None:
    for file in hashed.circuit.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / VERIFYING_KEY).write_bytes(b"x")
    verifier = EzklVerifier(tmp_path, VerifierOptions())

    with pytest.raises(UnavailableError):
        await verifier.verify(calldata_of(hashed))
    with pytest.raises(ConfigurationError, match=r"vk\.key"):
        await verifier.open()
