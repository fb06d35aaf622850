"""What can be chosen when a model folder is built."""

from dataclasses import dataclass
from enum import StrEnum

BLOCK_SIZE = 32
"""Weights that share a scale and a zero point."""
WIDE_BLOCK_SIZE = 64
"""Of the blocks of ``int8_smooth``: the widest whose kernels give a row the same bits in whatever batch."""


class Precision(StrEnum):
    """How a weight matrix is stored."""

    FP32 = "fp32"
    INT8_SMOOTH = "int8_smooth"
    """8 bits, a scale for each output, once outliers of the activations have moved into the weights; down and
    the output layer in blocks of 64 inputs: the fastest on a CPU with 8-bit products (VNNI)."""
    INT8_BLOCK = "int8_block"
    """8 bits, a scale and a zero point for each block of 32 inputs."""
    INT4_BLOCK = "int4_block"
    """4 bits likewise, rounded to nearest: small models lose much of their quality."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to store the weights."""

    precision: Precision = Precision.INT8_SMOOTH
    head_precision: Precision | None = None
    """Of the output layer; None: as ``precision``."""
    embedding_precision: Precision | None = None
    """Not ``int8_smooth``: nothing is multiplied there. None: fp32, but 8 bits beside ``int8_smooth`` where
    that loses nothing, because the source has no more."""
    has_hidden_states: bool = True
    """Whether the graph gives its last hidden states too, for embeddings; unasked, they cost nothing."""

    @property
    def has_pass_graphs(self) -> bool:
        """Whether further kinds of passes have graphs (``pass_graphs``): not tried but on CPUs."""
        return self.precision is Precision.INT8_SMOOTH

    @property
    def precision_of_head(self) -> Precision:
        return self.head_precision or self.precision
