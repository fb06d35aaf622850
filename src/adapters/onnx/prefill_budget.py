"""How much of the prompts one step reads, so that answers under way do not stall behind them.

A step's reading may take a few times as long as the decode step beside it. How long either takes is measured
as they run: a pass has a cost of its own, and one for each token. So a prompt that nearly fits is read whole,
and a step begins a further prompt only where all of it fits. A chunk beside the rows that decode is read in
their pass, and costs no more than its tokens and what they attend to.
"""

import math

from adapters.onnx.pass_durations import DecodeDurations, PassDurations

CHUNK_STEP_TOKENS = 8
"""Chunks are multiples of this, but for the end of a prompt."""
LEAST_CHUNK_TOKENS = 16
"""However slow the machine is."""
WAITING_WEIGHT = 24
"""How much more somebody is held up who waits behind the prompt that is read than somebody whose next token
comes late."""
MAX_HASTE = 4.0
"""Of the time that a step has for a sole prompt, however many wait."""
MAX_OVERRUN = 1.35
"""Of the time that is left, where that reads the rest of a prompt and saves a pass."""
MAX_OVERRUN_BESIDE = 1.1
"""The same, where no pass is saved."""


class PrefillBudget:
    """The time and the tokens that are left for prompts in a step.

    Args:
        max_chunk_tokens: at most, and where nobody decodes.
        max_stall: how long reading may take, in decode steps.
    """

    def __init__(self, max_chunk_tokens: int, max_stall: float) -> None:
        self.max_chunk_tokens = max_chunk_tokens
        self._max_stall = max_stall
        self._decoding = DecodeDurations()
        self._durations = PassDurations()
        self._left_tokens = max_chunk_tokens
        self._left_s = math.inf
        self._is_first = True

    def begin_step(self, *, num_decoding: int, num_waiting: int) -> None:
        """Begin a step.

        Args:
            num_decoding: answers under way, which a prompt holds up.
            num_waiting: prompts to read. Where others wait behind the first, there is more time: rows that
                stand empty cost everybody more than a late token.
        """
        self._left_tokens = self.max_chunk_tokens
        self._is_first = True
        self._left_s = math.inf
        if num_decoding > 0:
            haste = min(max(1.0, WAITING_WEIGHT * (num_waiting - 1) / num_decoding), MAX_HASTE)
            self._left_s = self._max_stall * self._decoding.decode_s * haste

    def next_chunk(self, num_tokens: int, *, num_past: int = 0, is_beside: bool = False) -> int:
        """Return how many to read of a prompt's last ``num_tokens``; 0 where the step has no time for it.

        Args:
            num_tokens: what is left to read of it.
            num_past: what is in its slot already.
            is_beside: whether that is read in the pass that decodes.
        """
        limit = self._left_tokens
        overrun = MAX_OVERRUN_BESIDE if is_beside else MAX_OVERRUN
        past = num_past if is_beside else None
        if num_tokens <= min(limit, self._most_tokens(overrun * self._left_s, past)):
            return num_tokens
        if not self._is_first:
            return 0
        fitting = min(limit, self._most_tokens(self._left_s, past))
        size = max(LEAST_CHUNK_TOKENS, int(fitting) // CHUNK_STEP_TOKENS * CHUNK_STEP_TOKENS)
        size = min(size, limit, num_tokens)
        # a pass of one token rounds otherwise than one of several: the answer would depend on the load
        return size - 1 if num_tokens - size == 1 < size else size

    def put_off(self, num_tokens: int, num_past: int) -> None:
        """Take note of a chunk that is to be read in the pass that decodes, behind what is in its slot."""
        self._is_first = False
        self._left_tokens -= num_tokens
        self._left_s -= self._decoding.beside_s(num_tokens, num_past)

    def decoded(self, duration_s: float, *, num_beside: int = 0, num_past: int = 0) -> None:
        """Take note of a decode step, and of how many tokens of a prompt were read beside, behind others."""
        self._decoding.measured(num_beside, duration_s, num_past=num_past)

    def prefilled(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a chunk that was read in a pass of its own."""
        self._is_first = False
        self._left_tokens -= num_tokens
        self._left_s -= duration_s
        self._durations.measured(num_tokens, duration_s)

    def _most_tokens(self, duration_s: float, past_beside: int | None) -> float:
        most = None if past_beside is None else self._decoding.most_tokens(duration_s, past_beside)
        return self._durations.most_tokens(duration_s) if most is None else most
