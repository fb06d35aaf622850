"""The nouns of a decision: a vector made of an embedding, and what a small head makes of the vector."""

from dataclasses import dataclass

from domain.probabilities import softmax


@dataclass(frozen=True, slots=True)
class Decision:
    """What a head made of an embedding."""

    vector: tuple[float, ...]
    """The projected embedding: what the head reads, and what a circuit of the head proves about."""
    logits: tuple[float, ...]
    """One for each label, in their order."""

    @property
    def probabilities(self) -> list[float]:
        """Softmax of the logits."""
        return softmax(self.logits)

    @property
    def index(self) -> int:
        """Of the largest logit, the first of several."""
        return self.logits.index(max(self.logits))
