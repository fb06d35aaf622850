"""onnxruntime-genai's decode speed at batch 1 on the same folder: prints a JSON line for each prompt.

Runs in an environment of its own, so it imports nothing of the service.

Usage: python -m bench.decode_genai MODEL_FOLDER NUM_THREADS
"""

import json
import sys
import time
from typing import Any

import onnxruntime_genai as og
from bench.prompts import NUM_TOKENS, PROMPTS


def main(folder: str, num_threads: int) -> None:
    """Measure each prompt once, after a warm-up."""
    config = og.Config(folder)
    session_options = {"intra_op_num_threads": num_threads, "inter_op_num_threads": 1}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session_options}}}))
    model = og.Model(config)
    tokenizer = og.Tokenizer(model)
    measure(model, tokenizer, PROMPTS[0], 8)
    for text in PROMPTS:
        print(json.dumps(measure(model, tokenizer, text, NUM_TOKENS)))


def measure(model: Any, tokenizer: Any, text: str, num_tokens: int) -> dict[str, float]:
    """Return tokens and decode speed; the first token belongs to the prefill."""
    messages = json.dumps([{"role": "user", "content": text}])
    prompt_ids = tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt_ids) + num_tokens, do_sample=False)
    generator = og.Generator(model, parameters)
    stream = tokenizer.create_stream()
    generator.append_tokens(prompt_ids)
    num_generated = 0
    first_s = 0.0
    while not generator.is_done():
        generator.generate_next_token()
        stream.decode(generator.get_next_tokens()[0])
        first_s = first_s or time.perf_counter()
        num_generated += 1
    elapsed_s = time.perf_counter() - first_s
    return {"num_tokens": num_generated, "tokens_per_s": (num_generated - 1) / elapsed_s}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
