"""onnxruntime-genai's static batches on a model folder: prints what they took as a JSON line.

So many prompts start together and nobody joins before the last is done. Runs in an environment of its own, so
it imports nothing of the service.

Usage: python -m bench.genai_batches FOLDER NUM_THREADS < LOAD.json
"""

import json
import resource
import sys
import time
from typing import Any

import onnxruntime_genai as og
from bench.prompt_sets import Conversation, conversations


class BatchModel:
    """A model folder run by onnxruntime-genai."""

    def __init__(self, folder: str, num_threads: int) -> None:
        config = og.Config(folder)
        session_options = {"intra_op_num_threads": num_threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session_options}}}))
        self._model = og.Model(config)
        self._tokenizer = og.Tokenizer(self._model)

    def answer(self, batch: list[Conversation], num_tokens: int) -> tuple[list[str], float]:
        """Return the texts of a batch, and the seconds to its first tokens."""
        began_s = time.perf_counter()
        texts = [
            self._tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
            for messages in batch
        ]
        prompts = self._tokenizer.encode_batch(texts)
        if len(batch) == 1:
            prompts = self._tokenizer.encode(texts[0])
        prompt_length = (
            prompts.shape()[1] if hasattr(prompts, "shape") and callable(prompts.shape) else len(prompts)
        )
        length = prompt_length + num_tokens
        parameters = og.GeneratorParams(self._model)
        parameters.set_search_options(
            batch_size=len(batch), min_length=length, max_length=length, do_sample=False
        )
        generator = og.Generator(self._model, parameters)
        generator.append_tokens(prompts)
        first_s = 0.0
        while not generator.is_done():
            generator.generate_next_token()
            first_s = first_s or time.perf_counter() - began_s
        answers = [generator.get_sequence(row)[prompt_length:] for row in range(len(batch))]
        return [self._tokenizer.decode(answer) for answer in answers], first_s


def main(folder: str, num_threads: int, load: dict[str, Any]) -> None:
    """Warm up, run all batches, print."""
    model = BatchModel(folder, num_threads)
    size = load["num_callers"]
    model.answer(conversations("short", size, "warm-up"), 8)
    asked = conversations(load["prompt_set"], load["num_requests"], load["seed"])
    texts: list[str] = []
    first_s, latencies_s = [], []
    began_s = time.perf_counter()
    for start in range(0, len(asked), size):
        batch = asked[start : start + size]
        batch_began_s = time.perf_counter()
        answers, batch_first_s = model.answer(batch, max(load["answer_lengths"][start : start + size]))
        texts += answers
        first_s += [batch_first_s] * len(batch)
        latencies_s += [time.perf_counter() - batch_began_s] * len(batch)
    result = {
        "duration_s": time.perf_counter() - began_s,
        "first_s": first_s,
        "latencies_s": latencies_s,
        "texts": texts,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin))
