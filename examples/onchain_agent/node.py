"""The part of an Infernet Node (1.4) in the example: asks a container as it does, and delivers the reply."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
from eth_abi.abi import encode
from examples.onchain_agent.chain import Contract, Receipt

FIELDS = ("raw_input", "processed_input", "raw_output", "processed_output", "proof")
TIMEOUT_S = 180.0
Reply = dict[str, Any]


class ContainerError(Exception):
    """The container answered an error; a node delivers nothing then."""


@dataclass(frozen=True)
class Node:
    """An account that works for subscriptions."""

    account: str
    coordinator: Contract
    containers: dict[str, str]
    """URL of each container, by the id that subscriptions name."""

    def work(
        self,
        subscription_id: int,
        consumer: Contract,
        container: str,
        *,
        requires_proof: bool = False,
        tampered: Callable[[Reply], Reply] = dict,
    ) -> Receipt:
        """Ask the container what the consumer asks, and deliver.

        ``tampered`` changes the reply, as a node that cheats would.
        """
        reply = self.ask(subscription_id, consumer, container, requires_proof=requires_proof)
        return self.deliver(subscription_id, tampered(reply))

    def ask(
        self, subscription_id: int, consumer: Contract, container: str, *, requires_proof: bool = False
    ) -> Reply:
        """Return a container's reply to a subscription's input."""
        data: bytes = consumer.call("getContainerInputs", subscription_id, 1, 0, self.account)
        payload = {"source": 0, "destination": 0, "data": data.hex(), "requires_proof": requires_proof}
        response = httpx2.post(self.containers[container], json=payload, timeout=TIMEOUT_S)
        reply: Reply = response.json()
        if str(reply.get("code", "200")) != "200":
            raise ContainerError(reply["description"])
        return reply

    def deliver(self, subscription_id: int, reply: Reply) -> Receipt:
        """Wrap a reply as a node does, and send it."""
        raw_input, processed_input, raw_output, processed_output, proof = (
            bytes.fromhex(reply[name]) for name in FIELDS
        )
        return self.coordinator.send(
            "deliverCompute",
            subscription_id,
            1,
            encode(["bytes", "bytes"], [raw_input, processed_input]),
            encode(["bytes", "bytes"], [raw_output, processed_output]),
            proof,
            self.account,
            sender=self.account,
        )
