"""EZKL's calls, one function a step; run in a child process alone, since EZKL can abort the process it is in.

Paths come in as strings, as EZKL takes them. Its errors come out as ``EzklError``: it raises
``RuntimeError`` for some, and panics with a ``BaseException`` for others.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ezkl as typed_ezkl

ezkl: Any = typed_ezkl
"""Its type stubs are not those of its functions."""

NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody answers at: EZKL would fetch a Solidity compiler of its own."""


class EzklError(Exception):
    """EZKL refused or failed. The message is its own and may quote a witness: not for callers or logs."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - its PanicException is none of Exception's
        lines = (str(error).strip() or type(error).__name__).splitlines()
        raise EzklError(lines[0][:300]) from None


def gen_settings(model: str, settings: str, arguments: Mapping[str, Any]) -> None:
    """Write ``settings.json`` for a model and run arguments."""
    run_args = ezkl.PyRunArgs()
    for name, value in arguments.items():
        setattr(run_args, name, value)
    with _translated():
        ezkl.gen_settings(model=model, output=settings, py_run_args=run_args)


def compile_circuit(model: str, circuit: str, settings: str) -> None:
    """Write the compiled circuit."""
    with _translated():
        ezkl.compile_circuit(model=model, compiled_circuit=circuit, settings_path=settings)


def gen_srs(srs: str, logrows: int) -> None:
    """Write a reference string made here: whoever made it could forge proofs, so it is for tests alone."""
    with _translated():
        ezkl.gen_srs(srs, logrows)


def setup(circuit: str, vk: str, pk: str, srs: str) -> None:
    """Write verifying and proving key."""
    with _translated():
        ezkl.setup(model=circuit, vk_path=vk, pk_path=pk, srs_path=srs)


def create_verifier_source(vk: str, settings: str, srs: str, source: str) -> None:
    """Write the Solidity source of the verifier."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        os.environ[name] = NOWHERE

    async def create() -> None:
        await ezkl.create_evm_verifier(
            vk_path=vk, settings_path=settings, sol_code_path=source, abi_path=f"{source}.abi", srs_path=srs
        )

    try:
        with _translated():
            asyncio.run(create())
    except EzklError:
        # it writes the source, then fails to fetch a compiler
        if not _is_whole_source(Path(source)):
            raise
    Path(f"{source}.abi").unlink(missing_ok=True)


def _is_whole_source(source: Path) -> bool:
    return source.is_file() and source.read_text(encoding="utf-8").rstrip().endswith("}")


def gen_witness(circuit: str, inputs: Sequence[float]) -> dict[str, Any]:
    """Return the witness of an input; its outputs tell what the circuit computes."""
    data = json.dumps({"input_data": [list(inputs)]}, allow_nan=False)
    with _translated():
        # its own default writes the witness into the working directory
        witness: dict[str, Any] = ezkl.gen_witness(data=data, model=circuit, output=None)
    return witness


def prove(circuit: str, pk: str, srs: str, witness: str, proof_path: str | None = None) -> dict[str, Any]:
    """Return a proof for a witness in a file, and write it where a path is given."""
    with _translated():
        proof: dict[str, Any] = ezkl.prove(
            witness=witness, model=circuit, pk_path=pk, proof_path=proof_path, srs_path=srs
        )
    return proof


def verify(proof: str, settings: str, vk: str, srs: str) -> None:
    """Check a proof in a file; raises ``EzklError`` when it does not hold."""
    with _translated():
        if not ezkl.verify(proof_path=proof, settings_path=settings, vk_path=vk, srs_path=srs):
            raise RuntimeError("the proof does not hold")
