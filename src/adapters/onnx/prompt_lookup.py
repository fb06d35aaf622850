"""Speculation by prompt lookup: what followed these tokens before may follow them again.

An answer that quotes, edits or repeats is guessed from the prompt and from itself, and one pass of the model
checks several guesses at once (Saxena 2023, "Prompt Lookup Decoding"). The checks use the sequence's own
sampling, token by token, so the answer is the one that plain decoding gives.
"""

NGRAM_TOKENS = 3
DRAFT_LENGTHS = (3, 7)
"""Guesses to check at once; with the token before them, widths at which kernels are efficient."""
PROBE_EVERY = 64
"""Chances to guess that are let go, where guessing does not pay, before it is tried again."""
FIRST_ACCEPTANCE = 0.7
LEARNING_RATE = 0.25
MIN_GAIN = 1.05


class PromptLookup:
    """Guesses for one sequence, by its own tokens.

    Args:
        token_ids: the prompt.
        max_draft_tokens: guesses at once, at most.
    """

    def __init__(self, token_ids: list[int], max_draft_tokens: int) -> None:
        self._token_ids: list[int] = []
        self._lengths = tuple(length for length in DRAFT_LENGTHS if length <= max_draft_tokens)
        self._follows: dict[tuple[int, ...], int] = {}
        self._acceptance = FIRST_ACCEPTANCE
        self._num_let_go = 0
        for token_id in token_ids:
            self.observe(token_id)

    def observe(self, token_id: int) -> None:
        """Take the next token."""
        end = len(self._token_ids)
        if end >= NGRAM_TOKENS:  # the n-gram at the end counts once something follows it
            self._follows[tuple(self._token_ids[-NGRAM_TOKENS:])] = end
        self._token_ids.append(token_id)

    def draft(self, costs: "PassCosts", room: int) -> list[int]:
        """Return guesses at the next tokens; none where there are none, or checking them would not pay.

        Args:
            costs: of the passes that check them.
            room: guesses that the answer has room for.
        """
        start = self._follows.get(tuple(self._token_ids[-NGRAM_TOKENS:]))
        if start is None:
            return []
        length = self._length(costs, room)
        guesses: list[int] = []
        for position in range(start, start + length):
            behind = position - len(self._token_ids)
            guesses.append(self._token_ids[position] if behind < 0 else guesses[behind])
        return guesses

    def learn(self, num_accepted: int, num_drafted: int) -> None:
        """Take note of how many guesses were right; those behind the first wrong one were not checked."""
        num_checked = min(num_accepted + 1, num_drafted)
        for is_right in [True] * num_accepted + [False] * (num_checked - num_accepted):
            self._acceptance += LEARNING_RATE * (is_right - self._acceptance)

    def _length(self, costs: "PassCosts", room: int) -> int:
        lengths = [length for length in self._lengths if length <= room]
        best_length, best_gain = 0, MIN_GAIN
        for length in lengths:
            expected = sum(self._acceptance**i for i in range(length + 1))
            gain = expected / costs.ratio(length + 1)
            if gain > best_gain:
                best_length, best_gain = length, gain
        if best_length == 0:
            self._num_let_go += 1
            if self._num_let_go >= PROBE_EVERY and lengths:
                self._num_let_go = 0
                return lengths[0]
        return best_length


class PassCosts:
    """How much longer a pass of several tokens takes than one of a single token, as measured."""

    def __init__(self) -> None:
        self._durations_s: dict[int, float] = {}

    def measured(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a pass."""
        known_s = self._durations_s.get(num_tokens, duration_s)
        self._durations_s[num_tokens] = known_s + LEARNING_RATE * (duration_s - known_s)

    def ratio(self, num_tokens: int) -> float:
        """Return the cost of a pass of this width, in passes of one token; a guess where none was seen."""
        single_s, wide_s = self._durations_s.get(1), self._durations_s.get(num_tokens)
        if single_s is None or wide_s is None:
            return 1 + (num_tokens - 1) / 8
        return wide_s / single_s
