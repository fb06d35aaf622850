"""What the engine tells of its steps and of the requests that went through them."""

from typing import Protocol

from adapters.onnx.sequence import Sequence


class EngineObserver(Protocol):
    """Is told in the engine's thread; returns at once and raises nothing."""

    def ran(self, num_running: int, num_waiting: int, num_cached_tokens: int) -> None:
        """After a step, now and then: these hold a slot, these wait for one, so many tokens lie in the slots.

        After the last step for a while it is always told.
        """
        ...

    def prefix_looked_up(self, num_tokens: int, num_reused: int) -> None:
        """A prompt of so many tokens was looked up in the prefix cache; so many need not be read."""
        ...

    def answered(self, queue_s: float, prefill_s: float, decode_s: float) -> None:
        """An answer is complete: how long it waited for a slot, for its first token, and for the last."""
        ...


class NobodyObserves:
    """The observer where there is none."""

    def ran(self, num_running: int, num_waiting: int, num_cached_tokens: int) -> None: ...

    def prefix_looked_up(self, num_tokens: int, num_reused: int) -> None: ...

    def answered(self, queue_s: float, prefill_s: float, decode_s: float) -> None: ...


def tell_of_answer(observer: EngineObserver, sequence: Sequence, now_s: float) -> None:
    """Tell of a sequence that has its last token."""
    if sequence.started_s is not None and sequence.first_token_s is not None:
        observer.answered(
            sequence.started_s - sequence.submitted_s,
            sequence.first_token_s - sequence.started_s,
            now_s - sequence.first_token_s,
        )
