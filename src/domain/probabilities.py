"""From scores to probabilities."""

import math
from collections.abc import Collection


def softmax(scores: Collection[float]) -> list[float]:
    """Return ``exp(score)`` of each score over their sum; scores may be of any size."""
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    total = sum(weights)
    return [weight / total for weight in weights]
