"""The original's design: a synchronous ``generate`` within the event loop of a Hypercorn application.

optimum runs the model in fp32. The API is as much of OpenAI's as the load generator asks for; since nothing
else runs meanwhile, an answer's text comes in one piece. Needs the environment of ``make test-optimum``.

Usage: python -m bench.blocking_server EXPORTED_FOLDER PORT
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from optimum.onnxruntime import ORTModelForCausalLM
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from transformers import AutoTokenizer


class BlockingModel:
    """A model that answers one conversation at a time, and lets nothing else happen."""

    def __init__(self, folder: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = ORTModelForCausalLM.from_pretrained(
            folder, provider="CPUExecutionProvider", use_io_binding=False
        )

    def answer(self, body: dict[str, Any]) -> tuple[str, int, int]:
        """Return the text, and the numbers of prompt and completion tokens."""
        encoded = self._tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        num_prompt_tokens = encoded["input_ids"].shape[1]
        num_tokens = body["max_tokens"]
        generated = self._model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            do_sample=False,
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens if body.get("ignore_eos") else 1,
        )[0, num_prompt_tokens:]
        text = self._tokenizer.decode(generated, skip_special_tokens=True)
        return text, num_prompt_tokens, len(generated)


def application(model: BlockingModel) -> Starlette:
    """Return the application."""

    async def chat(request: Request) -> Response:
        text, num_prompt_tokens, num_tokens = model.answer(await request.json())
        usage = {"prompt_tokens": num_prompt_tokens, "completion_tokens": num_tokens}
        return StreamingResponse(_events(text, usage), media_type="text/event-stream")

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/health", health)])


def _events(text: str, usage: dict[str, int]) -> Iterator[str]:
    piece = {"choices": [{"delta": {"content": text}, "finish_reason": "length"}], "usage": usage}
    yield f"data: {json.dumps(piece)}\n\n"
    yield "data: [DONE]\n\n"


def main(folder: str, port: str) -> None:
    """Serve until told to end."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(serve(application(BlockingModel(folder)), config))  # type: ignore[arg-type]  # Starlette's own type


if __name__ == "__main__":
    main(*sys.argv[1:])
