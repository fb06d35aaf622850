"""A decision head on disk, run by ONNX Runtime on the CPU.

=================  ====================================================================================
``decision.onnx``  ``embedding`` ``float32[1, n]`` to ``vector`` ``[1, m]`` and ``logits`` ``[1, labels]``
``head.onnx``      the part that circuits are made of: ``vector`` to index of the largest logit
``head.json``      ``{"labels": […], "model": the id of the model whose embeddings it was trained on}``
=================  ====================================================================================
"""

from adapters.decision_head.head import OnnxDecisionHead

__all__ = ["OnnxDecisionHead"]
