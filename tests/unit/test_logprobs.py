"""Log probabilities beside a plain log softmax, and what tokens read as."""

import numpy as np
import pytest

from adapters.onnx.logprobs import token_logprobs


class Letters:
    """Token 0 is ``a``; token 3 is half a character."""

    def token_bytes(self, token_id: int) -> bytes:
        return b"\xc3" if token_id == 3 else bytes([ord("a") + token_id])


def test_each_row_tells_of_its_token_and_of_the_likeliest() -> None:
    logits = np.array([[1, 2, 3, 2], [5, 0, 0, 0]], np.float32)
    first, second = token_logprobs(logits, [0, 3], [3, 0], Letters())
    log_total = np.log(np.exp([1, 2, 3, 2]).sum())

    assert (first.token, first.token_bytes) == ("a", b"a")
    assert first.logprob == pytest.approx(1 - log_total)
    assert [other.token for other in first.alternatives] == ["c", "b", "\ufffd"]
    assert [other.logprob + log_total for other in first.alternatives] == pytest.approx([3, 2, 2])
    assert (second.token, second.token_bytes, second.alternatives) == ("\ufffd", b"\xc3", ())


def test_no_rows_are_no_work() -> None:
    assert token_logprobs(np.zeros((0, 4), np.float32), [], [], Letters()) == []
