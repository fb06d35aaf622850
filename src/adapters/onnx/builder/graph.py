"""Writes an ONNX graph node by node, and its weights straight to the external data file.

Weights go to disk as they come, so that a build never holds more than a layer in memory.
"""

from collections.abc import Sequence
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from adapters.onnx.builder.architecture import Floats
from adapters.onnx.builder.options import BLOCK_SIZE, Precision
from adapters.onnx.builder.quantization import HIGHEST_SIGNED_BYTE, quantize_blocks, quantize_channels

MICROSOFT = "com.microsoft"
OPSET = 21
IR_VERSION = 10
ALIGNMENT_BYTES = 4096
"""Of each weight in the data file, so that it can be mapped into memory."""
ACCURACY_LEVEL = 4
"""``MatMulNBits`` quantises its activations to int8 too: the fast kernels on a CPU."""
INPUT_ZERO_POINT = 128
_BITS = {Precision.INT8_BLOCK: 8, Precision.INT4_BLOCK: 4}


def append_aligned(file: BinaryIO, data: bytes | memoryview) -> int:
    """Append data where it can be mapped into memory; returns its offset."""
    file.seek(0, SEEK_END)
    file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTES))
    offset = file.tell()
    file.write(data)
    return offset


class Graph:
    """An ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node, named after its first output; returns that output."""
        self.nodes.append(
            helper.make_node(operator, inputs, outputs, name=outputs[0], domain=domain, **attributes)
        )
        return outputs[0]

    def like(self, node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Add a node of the same operator and attributes as another."""
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        self.node(node.op_type, inputs, outputs, domain=node.domain, **attributes)

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add a small tensor inside the model file."""
        self.weights.append(onnx.numpy_helper.from_array(value, name))
        return name

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the model."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="llm-inference-service"
        )


class GraphWriter(Graph):
    """A graph whose weights go to a data file.

    Args:
        data_file: opened for writing; becomes the model's external data.
        data_name: its name, as the model refers to it.
    """

    def __init__(self, data_file: BinaryIO, data_name: str) -> None:
        super().__init__()
        self._data_file = data_file
        self._data_name = data_name

    def weight(self, name: str, value: npt.NDArray[Any]) -> str:
        """Append a tensor to the data file; returns its name."""
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape
        )
        tensor.data_location = TensorProto.EXTERNAL
        data = np.ascontiguousarray(value)
        offset = append_aligned(self._data_file, data.data)
        for key, entry in (("location", self._data_name), ("offset", offset), ("length", data.nbytes)):
            tensor.external_data.add(key=key, value=str(entry))
        self.weights.append(tensor)
        return name

    def matmul(
        self, name: str, source: str, weight: Floats, precision: Precision, bias: Floats | None = None
    ) -> str:
        """Add ``source @ weight.T + bias`` for ``weight: float32[out, in]``; returns the output's name.

        ``int8_smooth`` is ``int8_matmul``'s and ``block_matmul``'s.
        """
        if precision is Precision.FP32:
            weights = self.weight(f"{name}.weight", weight.T)
            output = self.node("MatMul", [source, weights], [f"{name}.output"])
        else:
            output = self.block_matmul(name, source, weight, _BITS[precision], BLOCK_SIZE)
        if bias is None:
            return output
        return self.node("Add", [output, self.weight(f"{name}.bias", bias)], [f"{name}.biased"])

    def block_matmul(self, name: str, source: str, weight: Floats, bits: int, block_size: int) -> str:
        """Add ``source @ weight.T`` with weights in blocks, and each row of inputs in blocks of 8 bits.

        Args:
            name: of the weight.
            source: the input.
            weight: ``float32[out, in]``.
            bits: of a weight, 8 or 4.
            block_size: inputs of a block.
        """
        quantized = quantize_blocks(weight, bits, block_size)
        return self.node(
            "MatMulNBits",
            [
                source,
                self.weight(f"{name}.values", quantized.values),
                self.weight(f"{name}.scales", quantized.scales.reshape(-1)),
                self.weight(f"{name}.zero_points", quantized.zero_points.reshape(-1)),
            ],
            [f"{name}.output"],
            domain=MICROSOFT,
            N=weight.shape[0],
            K=weight.shape[1],
            bits=bits,
            block_size=block_size,
            accuracy_level=ACCURACY_LEVEL,
        )

    def int8_matmul(
        self, name: str, source: str, weight: Floats, maximum: float, bias: Floats | None = None
    ) -> str:
        """Add ``matmul`` with weights and inputs of 8 bits; returns the output's name.

        Inputs are quantised by a scale found beforehand, so that a row's result does not depend on the rows
        beside it.

        Args:
            name: of the weight.
            source: the input.
            weight: ``float32[out, in]``.
            maximum: the largest magnitude of the input; what is larger counts as that.
            bias: ``float32[out]``.
        """
        scale = self.constant(f"{name}.scale", np.array(maximum / HIGHEST_SIGNED_BYTE, np.float32))
        zero_point = self.constant(f"{name}.zero_point", np.array(INPUT_ZERO_POINT, np.uint8))
        rows = self.node("QuantizeLinear", [source, scale, zero_point], [f"{name}.bytes"])
        quantized = quantize_channels(weight)
        values = self.weight(f"{name}.values", quantized.values.T)
        scales = self.weight(f"{name}.scales", quantized.scales)
        factors = [rows, values, scale, scales, zero_point, ""]
        if bias is not None:
            factors.append(self.weight(f"{name}.bias", bias))
        return self.node("MatMulIntegerToFloat", factors, [f"{name}.product"], domain=MICROSOFT)

    def split(self, source: str, outputs: Sequence[str], sizes: Sequence[int]) -> Sequence[str]:
        """Cut the last axis into parts of these sizes; returns the outputs."""
        lengths = self.constant(f"{outputs[0]}.sizes", np.array(sizes, np.int64))
        self.node("Split", [source, lengths], outputs, axis=-1)
        return outputs

    def gather(self, name: str, indices: str, weight: Floats, precision: Precision) -> str:
        """Add the look-up of rows of ``weight: float32[rows, columns]``; returns the output's name."""
        if precision is Precision.FP32:
            return self.node("Gather", [self.weight(f"{name}.weight", weight), indices], [f"{name}.output"])
        quantized = quantize_blocks(weight, _BITS[precision])
        rows = len(weight)
        return self.node(
            "GatherBlockQuantized",
            [
                self.weight(f"{name}.values", quantized.values.reshape(rows, -1)),
                indices,
                self.weight(f"{name}.scales", quantized.scales),
                self.weight(f"{name}.zero_points", quantized.zero_points),
            ],
            [f"{name}.output"],
            domain=MICROSOFT,
            bits=_BITS[precision],
            block_size=BLOCK_SIZE,
            gather_axis=0,
            quantize_axis=1,
        )

    def save(
        self,
        model_file: Path,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> None:
        """Write the model file."""
        model_file.write_bytes(self.model(name, inputs, outputs).SerializeToString())
