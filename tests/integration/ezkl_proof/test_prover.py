"""The prover on real circuits, and each way that EZKL or a caller can go wrong."""

import asyncio
import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ezkl_proof import ezkl_steps
from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.circuit_builder import build_circuit
from adapters.ezkl_proof.circuit_folder import CIRCUIT, PROVING_KEY, SETTINGS, SRS, VERIFYING_KEY
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility
from adapters.ezkl_proof.prover import EzklProver, ProverOptions, _checked
from adapters.onnx.builder import SilentReporter
from domain.errors import (
    ConfigurationError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ProverError,
    UnavailableError,
)
from ezkl_calldata import decode_attestation_call, decode_verify_call
from tests.contracts import verifier_bytecode
from tests.evm import Chain
from tests.heads import write_head
from tests.integration.ezkl_proof.conftest import INTEGERS, NUM_INPUTS, REALS, Proven


@asynccontextmanager
async def proving(circuit: Path, **options: Any) -> AsyncIterator[EzklProver]:
    prover = EzklProver(circuit, ProverOptions(**options))
    await prover.open()
    try:
        yield prover
    finally:
        await prover.close()


@pytest.mark.parametrize("name", ["hashed", "public", "integers"])
async def test_a_proof_comes_with_calldata_that_the_verifier_contract_takes(
    name: str, request: pytest.FixtureRequest
) -> None:
    case: Proven = request.getfixturevalue(name)
    async with proving(case.circuit) as prover:
        result = await prover.prove(case.inputs)
        circuit = prover.circuit

    assert result.circuit_id == circuit.circuit_id
    assert result.instances == case.proof.instances
    assert decode_verify_call(result.verify_calldata).proof == result.proof
    assert result.attestation_calldata is None
    assert circuit.takes_integers == (name == "integers")
    assert circuit.input_visibility == ("public" if name == "public" else "hashed")
    assert circuit.is_srs_insecure
    assert result.timings.prove_s > result.timings.verify_s > 0
    chain = Chain()
    outcome = chain.call(chain.deploy(verifier_bytecode(case.circuit)), result.verify_calldata)
    assert outcome.succeeded


async def test_with_a_verifiers_address_the_attestations_calldata_comes_too(hashed: Proven) -> None:
    address = bytes(range(20))
    async with proving(hashed.circuit, verifier_address=address) as prover:
        result = await prover.prove(REALS)

    assert result.attestation_calldata is not None
    call = decode_attestation_call(result.attestation_calldata)
    assert call.verifier == address
    assert call.verify_call == decode_verify_call(result.verify_calldata)


async def test_a_proof_that_is_given_up_leaves_no_witness_behind(
    hashed: Proven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = files_under(hashed.circuit)
    async with proving(hashed.circuit, timeout_s=0.4) as prover:
        with contextlib.suppress(DeadlineExceededError):  # the child is killed in the middle
            await prover.prove(REALS)

        assert files_under(tmp_path) == []
        assert files_under(hashed.circuit) == before


def files_under(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


async def test_a_finished_proof_leaves_no_witness_behind(
    public: Proven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with proving(public.circuit) as prover:
        await prover.prove(REALS)

        assert files_under(tmp_path) == []


async def test_proofs_at_once_share_the_workers_and_keep_to_themselves(public: Proven) -> None:
    inputs = [[value + i / 8 for value in REALS] for i in range(6)]
    async with proving(public.circuit, num_workers=2, num_threads=1) as prover:
        results = await asyncio.gather(*(prover.prove(vector) for vector in inputs))

    for vector, result in zip(inputs, results, strict=True):
        assert result.values["inputs"] == pytest.approx(vector, abs=0.5 / 2**7)


async def test_a_request_alone_gets_all_threads_and_requests_at_once_the_pool(public: Proven) -> None:
    async with proving(public.circuit, num_workers=2, num_threads=1) as prover:
        assert prover._solo is not None
        await prover.prove(REALS)
        assert [worker.pid for worker in prover._workers] == [None, None]
        assert prover._solo._num_threads == 2

        await asyncio.gather(*(prover.prove(REALS) for _ in range(3)))
        assert None not in [worker.pid for worker in prover._workers]
        await prover.prove(REALS)


async def test_two_services_prove_side_by_side(hashed: Proven, public: Proven) -> None:
    async with proving(hashed.circuit, num_workers=2) as one, proving(public.circuit, num_workers=2) as other:
        results = await asyncio.gather(*(prover.prove(REALS) for prover in [one, other] * 4))

    assert [result.instances for result in results] == [hashed.proof.instances, public.proof.instances] * 4


@pytest.mark.parametrize("name", [CIRCUIT, PROVING_KEY, VERIFYING_KEY, SRS, SETTINGS])
async def test_a_file_that_is_cut_off_later_costs_its_requests_and_not_the_service(
    copied: Path, name: str
) -> None:
    whole = (copied / name).read_bytes()
    async with proving(copied, max_memory_bytes=6 << 30, timeout_s=60) as prover:
        (copied / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((ProverError, DeadlineExceededError)):
            await prover.prove(REALS)
        (copied / name).write_bytes(whole)

        assert (await prover.prove(REALS)).proof


def test_a_reference_string_too_small_for_the_circuit_is_refused(tmp_path: Path) -> None:
    write_head(tmp_path / "head.onnx", (NUM_INPUTS, 3))
    in_child(ezkl_steps.gen_srs, str(tmp_path / "small.srs"), 6)
    parameters = CircuitParameters(11, 128, 4, 7, 2)

    with pytest.raises(ConfigurationError, match="cannot make"):
        build_circuit(
            tmp_path / "head.onnx",
            tmp_path / "circuit",
            parameters,
            InputVisibility.HASHED,
            SilentReporter(),
            srs=tmp_path / "small.srs",
        )
    assert not (tmp_path / "circuit").exists()


async def test_a_worker_that_is_killed_costs_the_request_it_had(hashed: Proven) -> None:
    async with proving(hashed.circuit) as prover:
        request = asyncio.create_task(prover.prove(REALS))
        await asyncio.sleep(0.1)
        pid = prover._workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProverError, match="ended"):
            await request

        assert (await prover.prove(REALS)).instances == hashed.proof.instances
        assert prover._workers[0].pid != pid


async def test_a_worker_killed_between_requests_costs_nothing(public: Proven) -> None:
    async with proving(public.circuit) as prover:
        pid = prover._workers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.1)

        assert (await prover.prove(REALS)).proof


async def test_a_request_that_is_cancelled_frees_its_worker(hashed: Proven) -> None:
    async with proving(hashed.circuit) as prover:
        request = asyncio.create_task(prover.prove(REALS))
        await asyncio.sleep(0.1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

        assert (await prover.prove(REALS)).instances == hashed.proof.instances


async def test_a_proof_that_takes_too_long_is_given_up(hashed: Proven) -> None:
    async with proving(hashed.circuit, timeout_s=0.05) as prover:
        started_s = time.monotonic()
        with pytest.raises(DeadlineExceededError, match=r"0\.05 s"):
            await prover.prove(REALS)

        assert time.monotonic() - started_s < 1


async def test_more_than_may_wait_are_refused(hashed: Proven) -> None:
    async with proving(hashed.circuit, max_waiting=1) as prover:
        running = [asyncio.create_task(prover.prove(REALS)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError, match="already waiting"):
            await prover.prove(REALS)
        assert len(await asyncio.gather(*running)) == 2


async def test_the_event_loop_goes_on_while_a_proof_is_made(hashed: Proven) -> None:
    async with proving(hashed.circuit) as prover:
        request = asyncio.create_task(prover.prove(REALS))
        slowest_s = 0.0
        while not request.done():
            started_s = time.monotonic()
            await asyncio.sleep(0.005)
            slowest_s = max(slowest_s, time.monotonic() - started_s)

    assert slowest_s < 0.5  # EZKL holds the interpreter for the whole of a proof


async def test_after_close_proofs_are_unavailable(public: Proven) -> None:
    async with proving(public.circuit) as prover:
        pass
    await prover.close()

    with pytest.raises(UnavailableError):
        await prover.prove(REALS)


@pytest.fixture
def copied(hashed: Proven, tmp_path: Path) -> Path:
    shutil.copytree(hashed.circuit, tmp_path / "circuit")
    return tmp_path / "circuit"


async def test_a_proving_key_of_another_circuit_is_found_at_the_start(copied: Path, public: Proven) -> None:
    shutil.copyfile(public.circuit / PROVING_KEY, copied / PROVING_KEY)

    with pytest.raises(ConfigurationError, match=r"pk\.key missing or changed"):
        await EzklProver(copied, ProverOptions()).open()


async def test_a_proving_key_that_changes_later_costs_its_requests_and_not_the_service(
    copied: Path, public: Proven
) -> None:
    right_key = (copied / PROVING_KEY).read_bytes()
    async with proving(copied, max_memory_bytes=6 << 30, timeout_s=60) as prover:
        shutil.copyfile(public.circuit / PROVING_KEY, copied / PROVING_KEY)
        with pytest.raises((ProverError, DeadlineExceededError)):
            await prover.prove(REALS)
        (copied / PROVING_KEY).write_bytes(right_key)

        assert (await prover.prove(REALS)).proof


async def test_a_folder_that_is_no_circuit_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no circuit folder"):
        await EzklProver(tmp_path, ProverOptions()).open()


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([], "inputs"),
        (REALS[:-1], "inputs"),
        ([*REALS, 0.0], "inputs"),
        ([*REALS[:3], math.nan, *REALS[4:]], "inputs.3"),
        ([*REALS[:3], math.inf, *REALS[4:]], "inputs.3"),
        ([*REALS[:3], "1", *REALS[4:]], "inputs.3"),
        ([*REALS[:3], None, *REALS[4:]], "inputs.3"),
        ([*REALS[:3], True, *REALS[4:]], "inputs.3"),
        ([*REALS[:3], 1e30, *REALS[4:]], "inputs.3"),
        ([*REALS[:3], -(10**400), *REALS[4:]], "inputs.3"),
    ],
)
async def test_an_input_that_the_circuit_does_not_take_is_named(
    hashed: Proven, inputs: list[Any], field: str
) -> None:
    async with proving(hashed.circuit) as prover:
        with pytest.raises(InvalidRequestError) as caught:
            await prover.prove(inputs)

    assert caught.value.problems[0].field == field


async def test_a_circuit_of_integers_takes_whole_numbers_alone(integers: Proven) -> None:
    async with proving(integers.circuit) as prover:
        with pytest.raises(InvalidRequestError, match="whole number"):
            await prover.prove([1.5, *INTEGERS[1:]])


async def test_the_largest_numbers_that_are_let_in_are_proved_rightly(public: Proven) -> None:
    async with proving(public.circuit) as prover:
        limit = prover._ready().max_magnitude / 2**prover.circuit.input_scale
        for value in (limit, -limit):
            vector = [value] + [0.0] * (NUM_INPUTS - 1)
            try:
                result = await prover.prove(vector)
            except ProverError:
                continue  # what the model makes of it may be too large for the circuit: no proof is right
            assert result.values["inputs"] == vector


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.just(math.nan),
    st.just(math.inf),
    st.floats(1e9),
    st.lists(st.none()),
)


@pytest.mark.parametrize("num_examples", [2000])
async def test_malformed_inputs_never_reach_ezkl(hashed: Proven, num_examples: int) -> None:
    async with proving(hashed.circuit) as prover:
        opened = prover._ready()

        @settings(max_examples=num_examples, database=None)
        @given(
            vector=st.lists(st.floats(-100, 100), min_size=NUM_INPUTS, max_size=NUM_INPUTS),
            position=st.integers(0, NUM_INPUTS - 1),
            value=odd,
        )
        def refused(vector: list[Any], position: int, value: Any) -> None:
            vector[position] = value
            with pytest.raises(InvalidRequestError):
                _checked(vector, opened)

        refused()
        assert (await prover.prove(REALS)).instances == hashed.proof.instances
