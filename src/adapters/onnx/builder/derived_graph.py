"""Graphs on the weights of another that attend in another form, for passes of another kind.

In a file of its own such a form costs the passes that do not need it nothing. All refer to one data file.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import onnx

from adapters.onnx.builder.attention import OPERATOR
from adapters.onnx.builder.graph import Graph

Values: TypeAlias = Sequence[onnx.ValueInfoProto]


class AttentionForm(Protocol):
    """How a pass attends."""

    def signature(self, inputs: Values, outputs: Values) -> tuple[Values, Values]:
        """Return the derived graph's inputs and outputs, given the model's."""
        ...

    def prepare(self, graph: Graph) -> None:
        """Add what the layers have in common."""
        ...

    def attend(self, graph: Graph, attention: onnx.NodeProto) -> None:
        """Add what gives a layer's attention its first output."""
        ...


def derive(model: onnx.ModelProto, form: AttentionForm) -> onnx.ModelProto:
    """Return a model with another form of attention.

    Args:
        model: of our builder, its weights in a data file; is not changed.
        form: in place of its attention.
    """
    graph = Graph()
    is_prepared = False
    for node in model.graph.node:
        if node.op_type != OPERATOR:
            graph.nodes.append(node)
            continue
        if not is_prepared:
            form.prepare(graph)
            is_prepared = True
        form.attend(graph, node)
    graph.weights.extend(model.graph.initializer)
    return graph.model(model.graph.name, *form.signature(model.graph.input, model.graph.output))


def renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    """Return the same type and shape under another name."""
    other = onnx.ValueInfoProto()
    other.CopyFrom(value)
    other.name = name
    return other
