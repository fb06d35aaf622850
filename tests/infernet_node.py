"""A double of an Infernet Node: calls a container as each release does, and takes the reply by its rules.

The rules are those of the released nodes 0.1.0 to 1.4.0: aiohttp's ``response.json()`` refuses another
content type, the HTTP status of an ordinary job is not looked at, and a stream's is.
"""

from dataclasses import dataclass
from typing import Any

import httpx2
from eth_abi.abi import encode

VERSIONS = ("0.1.0", "0.2.0", "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0")
FIELDS = ("raw_input", "processed_input", "raw_output", "processed_output", "proof")
TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Delivery:
    """What a node sends on chain."""

    input: bytes
    output: bytes
    proof: bytes
    is_repr: bool
    """Whether the output is a Python repr: what a node makes of a reply that it does not know."""


class JobFailedError(Exception):
    """The node takes the job as failed, and sends nothing on chain."""


@dataclass(frozen=True)
class NodeDouble:
    """A node of one version."""

    version: str
    url: str
    """Of the container's ``service_output``."""
    bearer: str | None = None

    @property
    def is_early(self) -> bool:
        """Before 1.0: no destinations, no proofs, no streams."""
        return self.version.startswith("0.")

    def offchain_job(self, data: Any) -> Any:
        """Run an off-chain job; returns what its caller gets."""
        return self._ask(data, source=1, destination=1)

    def onchain_subscription(self, data: bytes, *, requires_proof: bool = False) -> Delivery:
        """Run a subscription of a contract's."""
        return self._delivery(self._ask(data.hex(), source=0, destination=0, requires_proof=requires_proof))

    def delegated_subscription(self, data: dict[str, Any], *, requires_proof: bool = False) -> Delivery:
        """Run a subscription whose input came by HTTP."""
        return self._delivery(self._ask(data, source=1, destination=0, requires_proof=requires_proof))

    def chained(self, data: Any, *others: "NodeDouble") -> Any:
        """Run several containers, each on the whole output of the one before."""
        output = self.offchain_job(data)
        for other in others:
            output = other.offchain_job(output)
        return output

    def chained_subscription(
        self, data: bytes, *others: "NodeDouble", requires_proof: bool = False
    ) -> Delivery:
        """Run a subscription of several containers, as from 1.0 on: each is asked for the proof.

        An error is handed on as well: the output of a container is not looked at before the last one's.
        """
        nodes = (self, *others)
        output: Any = data.hex()
        for index, node in enumerate(nodes):
            source, destination = int(index > 0), int(index < len(nodes) - 1)
            output = node._ask(output, source=source, destination=destination, requires_proof=requires_proof)
        return self._delivery(output)

    def stream(self, data: dict[str, Any]) -> str:
        """Run a streaming job; returns what is stored of it."""
        payload = {"source": 1, "destination": 2, "data": data}
        with httpx2.stream("POST", self.url, json=payload, headers=self._headers(), timeout=60) as response:
            if response.status_code >= 400:
                raise JobFailedError(f"status {response.status_code}")
            return b"".join(response.iter_bytes()).decode("utf-8")

    def resources(self, base_url: str, model_id: str | None = None) -> Any:
        """Ask what a container can do, as 1.4 does."""
        parameters = {} if model_id is None else {"model_id": model_id}
        response = httpx2.get(f"{base_url}/service-resources", params=parameters, headers=self._headers())
        response.raise_for_status()
        return response.json()

    def _ask(self, data: Any, *, source: int, destination: int, requires_proof: bool = False) -> Any:
        payload = {"source": source, "data": data}
        if not self.is_early:
            payload |= {"destination": destination, "requires_proof": requires_proof}
        response = httpx2.post(self.url, json=payload, headers=self._headers(), timeout=TIMEOUT_S)
        if response.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise JobFailedError("unexpected mimetype")
        return response.json()

    def _delivery(self, output: Any) -> Delivery:
        if not self.is_early and isinstance(output, dict) and str(output.get("code", "200")) != "200":
            raise JobFailedError(f"container error {output['code']}")
        if isinstance(output, dict) and all(name in output for name in FIELDS):
            raw_input, processed_input, raw_output, processed_output, proof = (
                bytes.fromhex(output[name] or "") for name in FIELDS
            )
            return Delivery(
                encode(["bytes", "bytes"], [raw_input, processed_input]),
                encode(["bytes", "bytes"], [raw_output, processed_output]),
                proof,
                is_repr=False,
            )
        return Delivery(b"", encode(["string"], [str(output)]), b"", is_repr=True)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "*/*"}
        return headers if self.bearer is None else headers | {"Authorization": f"Bearer {self.bearer}"}
