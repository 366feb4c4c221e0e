"""(architecture, tensors) -> ONNX without torch, with batch norms folded and normalisation inside."""

from wideresnet.graph.read import read_graph
from wideresnet.graph.write import write_graph

__all__ = ["read_graph", "write_graph"]
