"""The body of ``POST /v1/embeddings``, and its answer."""

import base64
import json
import math
import struct
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from domain.generation import Embedding
from entrypoints.http.openai_api.completion_request import SomeText, as_texts
from entrypoints.http.openai_api.sampling_fields import Fields, NeverGiven, NeverOff, NotOffered

MAX_INPUTS = 2048
JSON = json.JSONEncoder(allow_nan=False)
Inputs = Annotated[list[SomeText], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]


class EmbeddingsRequest(Fields):
    """What to embed."""

    model: str | None = None
    input: Annotated[Inputs, BeforeValidator(as_texts, json_schema_input_type=SomeText | Inputs)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: NotOffered = None
    add_special_tokens: NotOffered = None
    truncate_prompt_tokens: NeverGiven = None
    normalize: NeverOff = None


def embeddings_body(
    model_id: str, embeddings: Sequence[Embedding], encoding_format: str | None, *, normalises: bool
) -> bytes:
    """Return the answer as JSON; a thread's work, as many reals take long to write.

    It is written vector by vector, so that other threads go on meanwhile.

    Args:
        model_id: of the answer.
        embeddings: one an input.
        encoding_format: ``base64`` for float32, little-endian; numbers otherwise.
        normalises: whether vectors are brought to length 1.
    """
    num_tokens = sum(embedding.usage.num_prompt_tokens for embedding in embeddings)
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    head = JSON.encode({"object": "list", "model": model_id, "usage": usage}).removesuffix("}")
    encoded = _in_base64 if encoding_format == "base64" else list[float]
    entries = []
    for index, embedding in enumerate(embeddings):
        vector = _normalised(embedding.vector) if normalises else embedding.vector
        entry = {"object": "embedding", "index": index, "embedding": encoded(vector)}
        entries.append(JSON.encode(entry))
    return f'{head}, "data": [{", ".join(entries)}]}}'.encode()


def _normalised(vector: Sequence[float]) -> Sequence[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector


def _in_base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
