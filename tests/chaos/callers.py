"""What the callers of a fault run ask, in every way there is, and what must come of it.

Each request ends in one ``Outcome``. ``LOST`` is what must never be: an accepted job without its result, or
an answer that neither ends nor breaks off. A connection may break off only where its worker was killed.
"""

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx2

ANSWER_TIMEOUT_S = 45.0
MAX_TOKENS = 24
TEXTS = tuple(f"{word} {number}" for word in ("alpha", "beta", "gamma", "delta") for number in range(4))
VECTOR_SIZE = 16
SUMMARIZER = "/workflows/summarizer/service_output"
BROKEN_OFF = "[stream broken off]"


class Outcome(StrEnum):
    """What became of a request."""

    RIGHT = "right answer"
    WRONG = "wrong answer"
    REFUSED = "refused, or told of an error"
    BROKEN = "connection broken off"
    LOST = "no end"


@dataclass(slots=True)
class Ended:
    """A request that is over."""

    kind: str
    outcome: Outcome
    began_s: float
    ended_s: float
    note: str = ""


@dataclass(slots=True)
class Expected:
    """The answers of an undisturbed service."""

    texts: dict[str, str] = field(default_factory=dict)
    proofs: dict[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, and what to say of it."""

    outcome: Outcome
    note: str = ""


def payload_of(text: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a request for an answer that is always the same."""
    data = {"key": "", "messageId": "", "text": text, "history": []}
    parameters = {"max_tokens": MAX_TOKENS, "temperature": 0, "ignore_eos": True}
    return {"source": 1, "data": data | {"parameters": parameters}, **fields}


def vector_of(number: int) -> dict[str, Any]:
    """Return the body of a request for a proved decision."""
    vector = [(number * 7 + place) % 101 * 10**16 for place in range(VECTOR_SIZE)]
    return {"source": 1, "requires_proof": True, "data": {"vector": vector}}


class Asking:
    """Asks of one service.

    Args:
        client: with the service's address.
        expected: what is right.
        chance: which text, and when to leave.
    """

    def __init__(self, client: httpx2.AsyncClient, expected: Expected, chance: random.Random) -> None:
        self._client = client
        self._expected = expected
        self._chance = chance
        self.job_ids: dict[str, str] = {}
        """The text of each job that was accepted, by its id."""

    @property
    def kinds(self) -> dict[str, Callable[[], Awaitable[Verdict]]]:
        """The ways to ask."""
        return {
            "whole": self.whole,
            "stream": self.stream,
            "events": self.events,
            "job": self.job,
            "proof": self.proof,
        }

    async def whole(self) -> Verdict:
        """Ask for an answer in one piece."""
        text = self._chance.choice(TEXTS)
        response = await self._client.post("/service_output", json=payload_of(text))
        if response.status_code != 200:
            return _refused(response)
        return self._judged(text, response.json())

    async def stream(self) -> Verdict:
        """Ask for raw pieces of text."""
        text = self._chance.choice(TEXTS)
        response = await self._client.post("/service_output", json=payload_of(text, destination=2))
        if response.status_code != 200:
            return _refused(response)
        if BROKEN_OFF in response.text:
            return Verdict(Outcome.REFUSED, "in the stream")
        return self._judged(text, response.text)

    async def events(self) -> Verdict:
        """Ask as an OpenAI client does, for server-sent events."""
        text = self._chance.choice(TEXTS)
        body = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        response = await self._client.post("/v1/chat/completions", json=body)
        if response.status_code != 200:
            return _refused(response)
        events = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
        contents = [json.loads(event) for event in events if event != "[DONE]"]
        errors = [content for content in contents if "error" in content]
        if len(errors) + events.count("[DONE]") != 1:
            return Verdict(Outcome.LOST, f"{len(errors)} errors, {events.count('[DONE]')} ends")
        if errors:
            return Verdict(Outcome.REFUSED, "in the stream")
        pieces = [choice["delta"].get("content") or "" for event in contents for choice in event["choices"]]
        return self._judged(text, "".join(pieces))

    async def job(self) -> Verdict:
        """Have a job accepted for later; its result is looked up at the end of the run."""
        text = self._chance.choice(TEXTS)
        headers = {"Prefer": "respond-async"}
        response = await self._client.post("/service_output", json=payload_of(text), headers=headers)
        if response.status_code != 202:
            return _refused(response)
        self.job_ids[response.json()["id"]] = text
        return Verdict(Outcome.RIGHT)

    async def proof(self) -> Verdict:
        """Ask for a decision with its proof."""
        number = self._chance.randrange(3)
        response = await self._client.post(SUMMARIZER, json=vector_of(number))
        if response.status_code != 200:
            return _refused(response)
        instances = response.json()["proof"]["instances"]
        is_right = instances == self._expected.proofs[number]["proof"]["instances"]
        return Verdict(Outcome.RIGHT if is_right else Outcome.WRONG)

    async def learn(self) -> None:
        """Take the answers of this service as the right ones."""
        for text in TEXTS:
            response = await self._client.post("/service_output", json=payload_of(text))
            self._expected.texts[text] = response.raise_for_status().json()
        for number in range(3):
            response = await self._client.post(SUMMARIZER, json=vector_of(number))
            self._expected.proofs[number] = response.raise_for_status().json()

    async def job_outcome(self, job_id: str) -> Verdict:
        """Wait for an accepted job, and judge its result."""
        response = await self._client.get(f"/jobs/{job_id}", params={"wait": 30})
        content = response.json()
        if response.status_code != 200 or content["status"] != "succeeded":
            return Verdict(Outcome.LOST, f"the job {job_id} is {content}")
        return self._judged(self.job_ids[job_id], content["result"])

    def _judged(self, text: str, answer: str) -> Verdict:
        if answer == self._expected.texts[text]:
            return Verdict(Outcome.RIGHT)
        return Verdict(Outcome.WRONG, f"{text}: {answer!r}, not {self._expected.texts[text]!r}")


def _refused(response: httpx2.Response) -> Verdict:
    if response.status_code in {429, 503, 504}:
        return Verdict(Outcome.REFUSED, str(response.status_code))
    return Verdict(Outcome.WRONG, f"{response.status_code}: {response.text[:200]}")
