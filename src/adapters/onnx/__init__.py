"""Text generation on ONNX Runtime: the engine, and the builder of its model folders."""
