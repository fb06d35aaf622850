"""``OnnxDecisionHead``: the ``DecisionHead`` port."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from domain.decisions import Decision
from domain.errors import BackendError, ConfigurationError

DECISION_MODEL = "decision.onnx"
DESCRIPTION = "head.json"


class OnnxDecisionHead:
    """A head in a folder.

    Args:
        folder: see the package's docstring.

    Raises:
        ConfigurationError: a file is missing or broken, or they do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            self._labels = tuple(map(str, description["labels"]))
            self._head_id = hashlib.sha256((folder / DECISION_MODEL).read_bytes()).hexdigest()[:16]
            self._session = ort.InferenceSession(
                str(folder / DECISION_MODEL), providers=["CPUExecutionProvider"]
            )
            (embedding,) = self._session.get_inputs()
            vector, logits = self._session.get_outputs()
            self._num_inputs = int(embedding.shape[1])
            self._vector_size = int(vector.shape[1])
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this
            raise ConfigurationError(f"{folder} is no decision head: {error}") from error
        if [vector.name, logits.name] != ["vector", "logits"] or logits.shape[1] != len(self._labels):
            raise ConfigurationError(f"{folder}: {DECISION_MODEL} does not fit the labels in {DESCRIPTION}")

    @property
    def head_id(self) -> str:
        return self._head_id

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    @property
    def embedding_size(self) -> int:
        return self._num_inputs

    @property
    def vector_size(self) -> int:
        return self._vector_size

    def decide(self, embedding: Sequence[float]) -> Decision:
        if len(embedding) != self._num_inputs:
            raise BackendError(
                f"the decision head takes embeddings of {self._num_inputs} numbers, not {len(embedding)}"
            )
        inputs = {"embedding": np.array([embedding], np.float32)}
        vector, logits = self._session.run(["vector", "logits"], inputs)
        return Decision(tuple(vector[0].tolist()), tuple(logits[0].tolist()))
