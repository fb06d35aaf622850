"""The tuner beside EZKL's own calibration, on a 16-16-3 head with argmax and a hashed input.

Warm proofs of the same sample with each circuit, interleaved; the verifier's size and gas; label agreement of
each with the float model on the same samples.

Usage: python -m bench.circuit
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ezkl as typed_ezkl
import numpy as np

from adapters.ezkl_proof import ezkl_steps, tuning_steps
from adapters.ezkl_proof.child import Child
from adapters.ezkl_proof.circuit_builder import VERIFIER_CONTRACT
from adapters.ezkl_proof.parameters import InputVisibility, run_arguments
from adapters.ezkl_proof.solidity import compile_contract
from adapters.ezkl_proof.tuner import Bars, tune
from adapters.onnx.builder import TqdmReporter
from entrypoints.deployment import HASH
from ezkl_calldata import (
    AttestationCall,
    AttestationSource,
    SourceKind,
    VerifyCall,
    contract_source,
    encode_attestation_call,
    encode_attestation_constructor,
    encode_verify_call,
    read_proof,
)
from tests.anvil import anvil
from tests.contracts import NODE_MODULES, attestation_contract
from tests.heads import write_head

RUNS = 5
NUM_SAMPLES = 100
TARGETS = ("resources", "accuracy")


def main() -> None:
    """Print each circuit's figures, and the ratio of the faster calibration to ours."""
    samples = np.random.default_rng(1).normal(0, 1, (NUM_SAMPLES, 16))
    with tempfile.TemporaryDirectory() as name, Child() as child:
        folder = Path(name)
        model = folder / "head.onnx"
        write_head(model, (16, 16, 3))
        report = TqdmReporter()
        # the bar is what the calibrations reach on these samples
        bars = Bars(min_label_agreement=1.0)
        tuned = tune(model, samples, InputVisibility.HASHED, report, node_modules=NODE_MODULES, bars=bars)
        arguments = run_arguments(tuned.chosen.parameters, InputVisibility.HASHED)
        circuits = {"tuned": set_up(child, folder / "tuned", model, arguments, samples)}
        for target in TARGETS:
            calibrated = child.run(calibrate, str(model), str(folder), samples.tolist(), target)
            circuits[target] = set_up(child, folder / target, model, calibrated, samples)
        times: dict[str, list[float]] = {circuit: [] for circuit in circuits}
        for _ in range(RUNS):
            for circuit in circuits:
                times[circuit].append(child.run(timed_proof, str(folder / circuit)))
        for circuit, facts in circuits.items():
            prove_s = statistics.median(times[circuit])
            print(f"{circuit:10} prove {prove_s:7.3f} s  {facts}  {on_chain(child, folder / circuit)}")
        fastest = min(statistics.median(times[target]) for target in TARGETS)
        ratio = fastest / statistics.median(times["tuned"])
        print(f"the tuned circuit proves {ratio:.1f}x faster than the faster calibration (medians of {RUNS})")


def set_up(child: Child, folder: Path, model: Path, arguments: dict[str, Any], samples: Any) -> str:
    """Make keys and a witness for a circuit; returns its logrows and label agreement."""
    folder.mkdir()
    expected = child.run(float_labels, str(model), samples.tolist())
    outputs = child.run(tuning_steps.compute_outputs, str(model), arguments, str(folder), samples.tolist())
    agreement = np.mean([ours == [label] for ours, label in zip(outputs, expected, strict=True)])
    logrows = json.loads((folder / "settings.json").read_text())["run_args"]["logrows"]
    child.run(ezkl_steps.gen_srs, str(folder / "kzg.srs"), logrows)
    paths = [str(folder / name) for name in ("circuit.ezkl", "vk.key", "pk.key", "kzg.srs")]
    child.run(ezkl_steps.setup, *paths)
    witness = child.run(ezkl_steps.gen_witness, str(folder / "circuit.ezkl"), samples[0].tolist())
    (folder / "witness.json").write_text(json.dumps(witness))
    return f"logrows {logrows}  label agreement {agreement:.2f}"


def float_labels(model: str, samples: list[list[float]]) -> list[float]:
    """Return the model's own argmax for each sample."""
    import onnxruntime as ort  # noqa: PLC0415 - in the child

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = np.array(samples, np.float32)
    return [float(session.run(None, {"x": row[np.newaxis]})[0][0]) for row in inputs]


def calibrate(model: str, folder: str, samples: list[list[float]], target: str) -> dict[str, Any]:
    """Return the run arguments that EZKL's calibration chooses."""
    ezkl: Any = typed_ezkl
    settings, data = f"{folder}/calibrated.json", f"{folder}/samples.json"
    arguments = {"input_visibility": "hashed", "output_visibility": "public", "param_visibility": "fixed"}
    ezkl_steps.gen_settings(model, settings, arguments)
    Path(data).write_text(json.dumps({"input_data": [samples[0]]}))
    ezkl.calibrate_settings(data=data, model=model, settings=settings, target=target)
    chosen = json.loads(Path(settings).read_text())["run_args"]
    names = ("input_scale", "param_scale", "logrows", "num_inner_cols", "decomp_base", "decomp_legs")
    return (
        arguments | {name: chosen[name] for name in names} | {"lookup_range": tuple(chosen["lookup_range"])}
    )


def timed_proof(folder: str) -> float:
    """Return the seconds of one proof; the proof is left in the folder."""
    started_s = time.perf_counter()
    ezkl_steps.prove(
        f"{folder}/circuit.ezkl",
        f"{folder}/pk.key",
        f"{folder}/kzg.srs",
        f"{folder}/witness.json",
        f"{folder}/proof.json",
    )
    return time.perf_counter() - started_s


def on_chain(child: Child, folder: Path) -> str:
    """Return the verifier's size, and the gas of a check on a chain's node, without and with attestation."""
    arguments = [str(folder / name) for name in ("vk.key", "settings.json", "kzg.srs", "Verifier.sol")]
    child.run(ezkl_steps.create_verifier_source, *arguments)
    compiled = compile_contract((folder / "Verifier.sol").read_text(), VERIFIER_CONTRACT, NODE_MODULES)
    proof = read_proof(json.loads((folder / "proof.json").read_text()))
    call = VerifyCall(proof.data, proof.instances)
    with anvil() as node:
        verifier = node.deploy(compiled.bytecode)
        address = bytes.fromhex(verifier[2:])
        source = contract_source("DataStore").read_text()
        store = node.deploy(compile_contract(source, "DataStore", NODE_MODULES).bytecode)
        node.send(store, "setHash(uint256)", proof.instances[0])
        hash_source = AttestationSource(bytes.fromhex(store[2:]), SourceKind.RAW, 0, 0, 1, HASH)
        constructor = encode_attestation_constructor([address], [hash_source])
        attestation = node.deploy(attestation_contract().bytecode + constructor)
        attested_call = encode_attestation_call(AttestationCall(address, call))
        bare, attested = (
            int(node.send_calldata(to, f"0x{calldata.hex()}")["gasUsed"], 16)
            for to, calldata in ((verifier, encode_verify_call(call)), (attestation, attested_call))
        )
    size = compiled.num_deployed_bytes
    return f"verifier {size:,} bytes  {bare:,} gas, {attested - bare:,} more with attestation of the hash"


if __name__ == "__main__":
    main()
