"""What Infernet needs of a container beyond HTTP: codecs for contracts, and the predecessor's workflows."""

from adapters.infernet.codecs import build_codec
from adapters.infernet.predecessor import PredecessorWorkflow, is_predecessor

__all__ = ["PredecessorWorkflow", "build_codec", "is_predecessor"]
