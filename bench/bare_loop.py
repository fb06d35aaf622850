"""The least that continuous batching takes, in a process of its own: prefill, decode all rows, fill holes.

No HTTP, scheduler, streams or detokenising; the same prompts, tokens and ONNX Runtime session as the service.

Usage: python -m bench.bare_loop MODEL_FOLDER NUM_SLOTS < LOAD.json
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench.prompt_sets import Conversation, conversations
from bench.targets import MAX_CONTEXT_TOKENS

from adapters.onnx.chat_template import read_chat_template
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import OnnxSession
from adapters.onnx.tokenizer import Tokenizer
from adapters.processors import num_processors
from domain.messages import ChatMessage


class BareLoop:
    """A session, and as many rows as it has slots."""

    def __init__(self, folder: Path, num_slots: int) -> None:
        self._num_slots = num_slots
        self._tokenizer = Tokenizer(folder)
        self._template = read_chat_template(folder)
        self._session = OnnxSession(
            read_model_folder(folder),
            ProviderChoice.CPU,
            num_threads=num_processors(),
            num_slots=num_slots,
            max_length=MAX_CONTEXT_TOKENS,
        )

    def run(self, asked: list[Conversation], num_tokens: int) -> float:
        """Answer each with so many tokens; returns the seconds."""
        began_s = time.perf_counter()
        waiting = [self._prompt_ids(messages) for messages in reversed(asked)]
        newest: list[int] = []
        lengths: list[int] = []
        left: list[int] = []
        while waiting or left:
            while waiting and len(left) < self._num_slots:
                prompt_ids = waiting.pop()
                logits = self._session.prefill(len(left), np.array(prompt_ids, np.int64), 0)
                newest.append(int(logits[-1].argmax()))
                lengths.append(len(prompt_ids))
                left.append(num_tokens - 1)
            logits = self._session.decode(np.array(newest, np.int64), np.array(lengths, np.int64))
            newest = logits.argmax(axis=-1).tolist()
            lengths = [length + 1 for length in lengths]
            left = [count - 1 for count in left]
            for slot in reversed(range(len(left))):
                if left[slot] == 0:
                    self._leave(slot, newest, lengths, left)
        return time.perf_counter() - began_s

    def _leave(self, slot: int, *columns: list[int]) -> None:
        last = len(columns[0]) - 1
        if slot != last:
            self._session.copy_slot(last, slot, columns[1][last])
        for column in columns:
            column[slot] = column[last]
            column.pop()

    def _prompt_ids(self, messages: Conversation) -> list[int]:
        text = self._template.render([ChatMessage("user", turn["content"]) for turn in messages])
        return self._tokenizer.encode(text)


def main(folder: Path, num_slots: int, load: dict[str, Any]) -> None:
    """Warm up, run, print tokens a second."""
    loop = BareLoop(folder, num_slots)
    loop.run(conversations("short", num_slots, "warm-up"), 8)
    asked = conversations(load["prompt_set"], load["num_requests"], load["seed"])
    seconds = loop.run(asked, load["max_tokens"])
    print(json.dumps({"tokens_per_s": len(asked) * load["max_tokens"] / seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.load(sys.stdin))
