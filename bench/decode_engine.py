"""Our engine's decode speed at batch 1, through the port: prints a JSON line for each prompt.

Usage: python -m bench.decode_engine MODEL_FOLDER NUM_THREADS
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from bench.prompts import NUM_TOKENS, PROMPTS

from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
from adapters.onnx.providers import ProviderChoice
from domain.generation import SamplingParameters
from domain.messages import ChatMessage, Prompt


async def main(folder: Path, num_threads: int) -> None:
    """Measure each prompt once, after a warm-up."""
    options = OnnxOptions(ProviderChoice.CPU, num_threads, max_context_tokens=1024)
    generator = OnnxTextGenerator(folder, "bench", options)
    await generator.open()
    await measure(generator, PROMPTS[0], 8)
    for text in PROMPTS:
        print(json.dumps(await measure(generator, text, NUM_TOKENS)))
    await generator.close()


async def measure(generator: OnnxTextGenerator, text: str, num_tokens: int) -> dict[str, float]:
    """Return tokens and decode speed; the first token belongs to the prefill."""
    prompt = Prompt([ChatMessage("user", text)], SamplingParameters(max_tokens=num_tokens))
    first_s = 0.0
    num_completion_tokens = 0
    async for chunk in generator.generate(prompt):
        first_s = first_s or time.perf_counter()
        if chunk.usage is not None:
            num_completion_tokens = chunk.usage.num_completion_tokens
    elapsed_s = time.perf_counter() - first_s
    return {"num_tokens": num_completion_tokens, "tokens_per_s": (num_completion_tokens - 1) / elapsed_s}


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
