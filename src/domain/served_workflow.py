"""``ServedWorkflow``: a workflow as callers reach it, by an InfernetInput, on chain or off."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from domain.chain import ChainReply
from domain.errors import FieldProblem, InvalidRequestError, UnavailableError
from domain.generation import Usage
from domain.ports import ChainCodec
from domain.reply_stream import ReplyStream
from domain.requests import InfernetInput, InfernetInputSource, RequestData
from domain.runner import WorkflowReply, WorkflowRunner
from domain.workflow import WorkflowPorts


class ServedWorkflow:
    """One workflow with its codec.

    Args:
        runner: takes requests through the workflow.
        codec: for requests that the chain has a part in.
        declaration: everything in the settings that its answers depend on.
    """

    def __init__(self, runner: WorkflowRunner, codec: ChainCodec, declaration: str) -> None:
        self.runner = runner
        self._codec = codec
        self._declaration = declaration
        self._ports: WorkflowPorts | None = None
        self._identity = ""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self.runner.name

    @property
    def identity(self) -> str:
        """A hash of workflow, model, head and circuit; empty before ``identify``."""
        return self._identity

    async def open(self, ports: WorkflowPorts) -> None:
        """Set the workflow up. Raises ``ConfigurationError`` as ``WorkflowRunner.open``."""
        await self.runner.open(ports)
        self._ports = ports

    async def identify(self) -> None:
        """Find out the identity, once.

        Raises:
            UnavailableError: it is not open, or only the backend knows its model, and is not there.
        """
        if self._identity:
            return
        if self._ports is None:
            raise UnavailableError("the service is starting or stopping")
        generator, head, prover = self._ports.generator, self._ports.decision_head, self._ports.prover
        if generator.model.fingerprint is None:
            await generator.ping()
        parts = [
            self._declaration,
            generator.model.model_id,
            str(generator.model.fingerprint),
            "" if head is None else head.head_id,
            "" if prover is None else prover.circuit.circuit_id,
        ]
        self._identity = _digest(parts)

    async def close(self) -> None:
        """Close the workflow."""
        await self.runner.close()

    def proves(self, request: InfernetInput) -> bool:
        """Tell whether a request makes a proof."""
        return self.runner.workflow.proves(is_required=request.is_proof_asked)

    def check(self, request: InfernetInput) -> None:
        """Raise what ``answer`` would raise of the request alone."""
        data = self._data(request)
        self.runner.checked(data, requires_proof=request.is_proof_asked)
        if request.is_reply_for_chain and request.source is InfernetInputSource.OFFCHAIN:
            self._codec.check_input(data)

    async def answer(
        self, request: InfernetInput, on_end: Callable[[Usage], None] = lambda _: None
    ) -> WorkflowReply:
        """Answer a request; for the chain, the output is the five fields.

        ``on_end`` is told what was used, however it ends.

        Raises: as ``WorkflowRunner.run``, ``ChainCodec.decode`` and ``ChainCodec.encode``.
        """
        data = self._data(request)
        reply = await self.runner.run(data, requires_proof=request.is_proof_asked, on_end=on_end)
        if not request.is_reply_for_chain:
            return reply
        raw_input = request.onchain_data() if request.source is InfernetInputSource.CHAIN else None
        onchain: ChainReply = self._codec.encode(reply.output, data, raw_input)
        fields: dict[str, Any] = dict(onchain.fields())
        return WorkflowReply(fields, reply.meter)

    async def stream(self, request: InfernetInput, on_end: Callable[[Usage], None]) -> ReplyStream[str]:
        """Start a stream, as ``WorkflowRunner.stream``. Raises: as that, and ``ChainCodec.decode``."""
        if request.is_proof_asked:
            raise InvalidRequestError(FieldProblem("requires_proof", "a stream carries no proof"))
        return await self.runner.stream(self._data(request), on_end)

    def digest_of(self, request: InfernetInput) -> str:
        """Return a hash of what is asked of whom: another model, circuit or setting gives another."""
        payload = request.model_dump(mode="json")
        if request.source is InfernetInputSource.CHAIN:
            payload["data"] = request.onchain_data().hex()
        canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return _digest([self._identity, canonical])

    def _data(self, request: InfernetInput) -> RequestData:
        if request.source is InfernetInputSource.CHAIN:
            return self._codec.decode(request.onchain_data())
        return request.data


def _digest(parts: list[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
