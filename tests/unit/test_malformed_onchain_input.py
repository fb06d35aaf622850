"""What no contract should send, to every codec by HTTP: a reply or a 400 with a reason, and never a 5xx."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import httpx2
from pydantic import BaseModel, RootModel

from adapters.scripted import ScriptedTextGenerator
from adapters.settings import Settings
from domain.workflow import LLMInferenceWorkflow
from entrypoints.container import build_container
from entrypoints.http.app import create_app
from tests.fakes.proving import FakeDecisionHead, FakeProver

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "codecs.json").read_text())["decode"]
NUM_MALFORMED = 10_000
SPECIAL_WORDS = (0, 1, 31, 32, 96, 2**31, 2**128, 2**255, 2**256 - 1)
"""As lengths, pointers, types and numbers: too small, too large, negative."""
FIELDS = {"raw_input", "processed_input", "raw_output", "processed_output", "proof"}


class LabelWorkflow(LLMInferenceWorkflow):
    """Takes anything, and replies what the golden codec abi writes."""

    request_type: ClassVar[type[BaseModel]] = RootModel[Any]

    async def preprocess(self, request: RootModel[Any]) -> Any:
        return request.root

    async def generate(self, prompt: Any) -> Any:
        return prompt

    async def postprocess(self, generation: Any, request: RootModel[Any]) -> dict[str, Any]:
        return {"label": "good", "score": -3}


WORKFLOWS = {
    "text": "domain.workflows.chat.ChatWorkflow",
    "messages": "domain.workflows.chat.ChatWorkflow",
    "tensor": "domain.workflows.vector_decision.VectorDecisionWorkflow",
    "agent_reply": "domain.workflows.agent_decision.AgentDecisionWorkflow",
    "summarizer": "domain.workflows.summarizer.SummarizerWorkflow",
    "abi": f"{__name__}.LabelWorkflow",
}
"""By codec."""


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    declared = {
        case["format"]["codec"]: {"class": WORKFLOWS[case["format"]["codec"]], "chain": case["format"]}
        for case in GOLDEN
    }
    settings = Settings(_env_file=None, LLM_WORKFLOWS=declared, LLM_JOURNAL="memory")
    built = build_container(settings, generator=ScriptedTextGenerator())
    app = create_app(replace(built, decision_head=FakeDecisionHead(), prover=FakeProver()))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client,
    ):
        yield client


async def test_malformed_input_is_answered_or_a_400_with_a_field_and_a_reason() -> None:
    source = random.Random(7)  # noqa: S311 - repeatable on purpose
    statuses: Counter[tuple[str, int]] = Counter()
    async with client() as service:
        for codec, data in malformed(source):
            payload = {"source": 0, "destination": 0, "data": data}
            response = await service.post(f"/workflows/{codec}/service_output", json=payload)
            statuses[codec, response.status_code] += 1
            body = response.json()
            if response.status_code == 200:
                assert set(body) == FIELDS
                continue
            assert (response.status_code, body["code"]) == (400, "400"), (codec, data, body)
            field, _, reason = body["description"].partition(": ")
            assert field.split(".")[0] == "data"
            assert reason

    assert set(WORKFLOWS) == {codec for codec, status in statuses if status == 200}
    assert set(WORKFLOWS) == {codec for codec, status in statuses if status == 400}
    assert sum(statuses.values()) == NUM_MALFORMED
    assert sum(count for (_, status), count in statuses.items() if status == 400) > NUM_MALFORMED / 3


def malformed(source: random.Random) -> Iterator[tuple[str, str]]:
    """Yield codecs and hex: each word of each golden input replaced by each special one, then by chance."""
    cases = [(case["format"]["codec"], bytes.fromhex(case["hex"])) for case in GOLDEN]
    num_left = NUM_MALFORMED
    for codec, data in cases:
        for position in range(0, len(data) - 31, 32):
            for number in SPECIAL_WORDS:
                yield codec, (data[:position] + number.to_bytes(32, "big") + data[position + 32 :]).hex()
                num_left -= 1
    for _ in range(num_left):
        codec, data = source.choice(cases)
        yield codec, mutated(data, source)


def mutated(data: bytes, source: random.Random) -> str:
    """Return the hex of bytes that were cut, overwritten or flipped somewhere, or hex that was spoilt."""
    changed = bytearray(data)
    match source.randrange(5):
        case 0:
            return changed[: source.randrange(len(changed))].hex()
        case 1:
            return source.randbytes(source.randrange(0, 300)).hex()
        case 2:
            position = 32 * source.randrange(len(changed) // 32)
            changed[position : position + 32] = source.randbytes(32)
        case 3:
            position = source.randrange(2 * len(changed))
            return (
                data.hex()[:position] + source.choice(["", "g", " ", "0x", "\0"]) + data.hex()[position + 1 :]
            )
        case _:
            for _ in range(source.randrange(1, 8)):
                changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return changed.hex()
