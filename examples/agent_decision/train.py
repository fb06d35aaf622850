"""Trains the decision head on the embeddings of the labelled messages, and writes it with a report.

Which messages are held out is fixed by a hash of their text, before anything is trained. The weight decay is
chosen by cross-validation on the others.

Usage: python examples/agent_decision/train.py    (LLM_MODEL as for the service; solc from `make contracts`)
"""

import asyncio
import hashlib
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from adapters.ezkl_proof import tuning_steps
from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.parameters import InputVisibility, run_arguments
from adapters.ezkl_proof.tuner import Bars, tune
from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
from adapters.onnx.builder import TqdmReporter
from adapters.settings import read_settings
from domain.messages import ChatMessage
from entrypoints.model_source import prepare_model

HERE = Path(__file__).parent
NODE_MODULES = HERE.parents[1] / "ezkl" / "contracts" / "node_modules"
LABELS = ("noop", "buy", "sell")
INSTRUCTION = "You manage a portfolio. Decide on the user's message. Answer with one word: noop, buy or sell."
VECTOR_SIZE = 16
CLIP_FACTOR = 1.5
"""The vector is clipped at this many times the largest that was seen, so that it always fits the circuit."""
SEED = 0
NUM_MIXTURES = 400

Reals = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Messages:
    """The labelled messages, and which of them are held out."""

    texts: list[str]
    labels: Labels
    is_held_out: npt.NDArray[np.bool_]


def read_messages() -> Messages:
    """Read ``messages.tsv``."""
    lines = (HERE / "messages.tsv").read_text(encoding="utf-8").splitlines()[1:]
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    held_out = [hashlib.sha256(text.encode()).digest()[0] < 77 for text in texts]  # noqa: PLR2004 - 30 %
    return Messages(list(texts), np.array([LABELS.index(label) for label in labels]), np.array(held_out))


async def ask_the_model(texts: list[str]) -> tuple[str, Reals, Labels]:
    """Return the model's id, the embedding of each text, and the label its own logits prefer."""
    model = prepare_model(read_settings(), TqdmReporter())
    generator = OnnxTextGenerator(model.folder, model.model_id, OnnxOptions(max_context_tokens=512))
    await generator.open()
    embeddings = [(await generator.embed(text)).vector for text in texts]
    preferred = []
    for text in texts:
        messages = [ChatMessage("system", INSTRUCTION), ChatMessage("user", text)]
        scores = (await generator.score_labels(messages, LABELS)).log_probabilities
        preferred.append(LABELS.index(max(scores, key=scores.__getitem__)))
    await generator.close()
    return model.model_id, np.array(embeddings, np.float32), np.array(preferred)


def fit(embeddings: Reals, labels: Labels) -> Pipeline:
    """Fit scaler and network; the network's first layer becomes the projection, the others the head."""
    network = MLPClassifier((VECTOR_SIZE, 16), random_state=SEED, max_iter=800)
    pipeline = make_pipeline(StandardScaler(), network)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1.0, 3.0, 10.0, 30.0, 100.0]}, cv=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(embeddings, labels)
    print(f"cross-validation: {search.best_score_:.3f} with {search.best_params_}")
    best: Pipeline = search.best_estimator_
    return best


def write_models(pipeline: Pipeline, folder: Path, embeddings: Reals) -> None:
    """Write ``decision.onnx`` and ``head.onnx`` with the same weights."""
    scaler, network = pipeline[0], pipeline[1]
    projection = network.coefs_[0] / scaler.scale_[:, None]
    offset = network.intercepts_[0] - (scaler.mean_ / scaler.scale_) @ network.coefs_[0]
    weights = {
        "projection": projection,
        "offset": offset,
        "lowest": np.array(0.0),
        "highest": np.array(CLIP_FACTOR * (embeddings @ projection + offset).max()),
        "hidden.weight": network.coefs_[1],
        "hidden.bias": network.intercepts_[1],
        "output.weight": network.coefs_[2],
        "output.bias": network.intercepts_[2],
    }
    to_vector = [
        helper.make_node("MatMul", ["embedding", "projection"], ["projected"]),
        helper.make_node("Add", ["projected", "offset"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "lowest", "highest"], ["vector"]),
    ]
    to_logits = [
        helper.make_node("MatMul", ["vector", "hidden.weight"], ["hidden.product"]),
        helper.make_node("Add", ["hidden.product", "hidden.bias"], ["hidden.sum"]),
        helper.make_node("Relu", ["hidden.sum"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "output.weight"], ["output.product"]),
        helper.make_node("Add", ["output.product", "output.bias"], ["logits"]),
    ]
    to_action = [helper.make_node("ArgMax", ["logits"], ["action"], axis=1, keepdims=0)]

    def reals(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])

    vector, logits = reals("vector", VECTOR_SIZE), reals("logits", len(LABELS))
    action = helper.make_tensor_value_info("action", TensorProto.INT64, [1])
    embedding = reals("embedding", embeddings.shape[1])
    save(folder / "decision.onnx", [*to_vector, *to_logits], [embedding], [vector, logits], weights)
    save(folder / "head.onnx", [*to_logits, *to_action], [vector], [action], weights)


def save(
    file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]
) -> None:
    """Write a graph with those of the weights that it uses."""
    used = {name for node in nodes for name in node.input}
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in weights.items()
        if name in used
    ]
    graph = helper.make_graph(nodes, file.stem, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def tuning_samples(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the vectors, and mixtures of two: of those the head is less sure than of what it knows."""
    random = np.random.default_rng(SEED)
    pairs = random.integers(0, len(vectors), (NUM_MIXTURES, 2))
    share = random.uniform(0, 1, (NUM_MIXTURES, 1))
    mixtures = share * vectors[pairs[:, 0]] + (1 - share) * vectors[pairs[:, 1]]
    return np.round(np.concatenate([vectors, mixtures]), 4)


def main() -> None:
    """Train, write the head, tune its circuit, compare, write the report."""
    from adapters.decision_head import OnnxDecisionHead  # noqa: PLC0415 - reads what is written here

    messages = read_messages()
    model_id, embeddings, preferred = asyncio.run(ask_the_model(messages.texts))
    held_out, labels = messages.is_held_out, messages.labels
    pipeline = fit(embeddings[~held_out], labels[~held_out])
    folder = HERE / "head"
    folder.mkdir(exist_ok=True)
    write_models(pipeline, folder, embeddings[~held_out])
    description = {"labels": LABELS, "model": model_id}
    (folder / "head.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    head = OnnxDecisionHead(folder)
    decisions = [head.decide(embedding.tolist()) for embedding in embeddings]
    vectors = np.array([decision.vector for decision in decisions])
    decided = np.array([decision.index for decision in decisions])
    samples = tuning_samples(vectors[~held_out])
    (folder / "samples.json").write_text(json.dumps(samples.tolist()) + "\n", encoding="utf-8")
    tuned = tune(
        folder / "head.onnx",
        samples,
        InputVisibility.HASHED,
        TqdmReporter(),
        node_modules=NODE_MODULES,
        bars=Bars(min_label_agreement=0.999),
    )
    arguments = run_arguments(tuned.chosen.parameters, InputVisibility.HASHED)
    with tempfile.TemporaryDirectory() as scratch:
        outputs = in_child(
            tuning_steps.compute_outputs,
            str(folder / "head.onnx"),
            arguments,
            scratch,
            vectors[held_out].tolist(),
        )
    agreement = np.mean(np.array(outputs)[:, 0] == decided[held_out])
    expected = labels[held_out]
    majority = int(np.bincount(labels[~held_out]).argmax())
    chosen = tuned.chosen.parameters
    flags = (
        f"--logrows {chosen.logrows} --decomp-base {chosen.decomp_base} --decomp-legs {chosen.decomp_legs} "
        f"--scale {chosen.scale} --inner-cols {chosen.num_inner_cols}"
    )
    rows = [
        (f"always {LABELS[majority]} (the majority of the training messages)", np.mean(expected == majority)),
        ("the model's own label logits, zero-shot", np.mean(preferred[held_out] == expected)),
        ("the head, in floating point", np.mean(decided[held_out] == expected)),
        ("the head, in the circuit", np.mean(np.array(outputs)[:, 0] == expected)),
    ]
    report = [
        "# Report",
        "",
        f"Written by `train.py` with the model `{model_id}`.",
        f"Messages to train on: {np.sum(~held_out)}; held out, by a hash of their text: {np.sum(held_out)}.",
        "",
        "| on the held-out messages | accuracy |",
        "|---|---|",
        *(f"| {name} | {value:.1%} |" for name, value in rows),
        "",
        f"Circuit and head in floating point agree on {agreement:.1%} of them.",
        "",
        f"The circuit: `{flags}`; verifier {tuned.chosen.num_verifier_bytes:,} bytes.",
        "",
    ]
    (HERE / "report.md").write_text("\n".join(report), encoding="utf-8")
    print("\n".join(report))


if __name__ == "__main__":
    main()
