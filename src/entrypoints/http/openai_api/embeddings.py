"""The body of ``POST /v1/embeddings``, and its answer."""

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from domain.generation import Embedding
from entrypoints.http.openai_api.completion_request import SomeText, as_texts
from entrypoints.http.openai_api.sampling_fields import Fields, NeverGiven, NotOffered

MAX_INPUTS = 2048
Inputs = Annotated[list[SomeText], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]


class EmbeddingsRequest(Fields):
    """What to embed."""

    model: str | None = None
    input: Annotated[Inputs, BeforeValidator(as_texts, json_schema_input_type=SomeText | Inputs)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: NotOffered = None
    add_special_tokens: NotOffered = None
    truncate_prompt_tokens: NeverGiven = None


def embeddings_content(
    model_id: str, embeddings: Sequence[Embedding], encoding_format: str | None
) -> dict[str, Any]:
    """Return the answer; in base64 a vector is float32, little-endian."""
    num_tokens = sum(embedding.usage.num_prompt_tokens for embedding in embeddings)
    encoded = _in_base64 if encoding_format == "base64" else list[float]
    return {
        "object": "list",
        "model": model_id,
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(embedding.vector)}
            for index, embedding in enumerate(embeddings)
        ],
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


def _in_base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
