"""Contracts on a development chain, by the names in their ABI: deploy, call, send, and name their errors."""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from eth_abi.abi import decode, encode
from eth_utils.abi import abi_to_signature, function_signature_to_4byte_selector

from adapters.ezkl_proof.solidity import CompiledContract, compile_contract

HERE = Path(__file__).parent
NODE_MODULES = HERE.parents[1] / "ezkl" / "contracts" / "node_modules"
GAS_LIMIT = 15_000_000
RECEIPT_TIMEOUT_S = 30.0


class RevertError(Exception):
    """A transaction or call reverted; ``name`` is that of the contract's error, where it is known."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Receipt:
    """What a transaction did."""

    gas_used: int
    events: dict[str, list[Any]]
    """Arguments that are not indexed, by the event's name; the last of each."""


class Chain:
    """A node with unlocked accounts, such as anvil."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.errors: dict[bytes, str] = {}
        """Names of all contracts' errors, by selector."""
        self.accounts: list[str] = self.ask("eth_accounts")

    def ask(self, method: str, *parameters: Any) -> Any:
        """Return the result of a JSON-RPC method.

        Raises:
            RevertError: a contract refused.
        """
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = httpx2.post(self._url, json=request, timeout=60).raise_for_status().json()
        if "error" in answer:
            data = bytes.fromhex(str(answer["error"].get("data") or "0x")[2:])
            raise RevertError(self.errors.get(data[:4], answer["error"]["message"]))
        return answer["result"]

    def deploy(self, name: str, *arguments: Any, source: Path | None = None) -> "Contract":
        """Compile and deploy one of the example's contracts, or another file's."""
        compiled = _compiled(source or HERE / f"{name}.sol", name)
        constructor = [item for item in compiled.abi if item["type"] == "constructor"]
        types = _types(constructor[0]["inputs"]) if constructor else []
        data = compiled.bytecode + encode(types, arguments)
        receipt = self.transact({"data": f"0x{data.hex()}"}, self.accounts[0])
        return self.at(receipt["contractAddress"], compiled.abi, gas_used=int(receipt["gasUsed"], 16))

    def at(self, address: str, abi: list[dict[str, Any]], gas_used: int = 0) -> "Contract":
        """Return a contract that is there already."""
        for item in abi:
            if item["type"] == "error":
                self.errors[function_signature_to_4byte_selector(_signature(item))] = item["name"]
        return Contract(self, address, abi, gas_used)

    def transact(self, transaction: dict[str, str], sender: str) -> Any:
        """Send a transaction and return its receipt. Raises ``RevertError`` before it costs anything."""
        whole = {"from": sender, "gas": hex(GAS_LIMIT), **transaction}
        self.ask("eth_call", whole, "latest")
        digest = self.ask("eth_sendTransaction", whole)
        receipt = self._receipt(digest)
        if int(receipt["status"], 16) != 1:
            raise RevertError("the transaction reverted")
        return receipt

    def _receipt(self, digest: str) -> Any:
        deadline_s = time.monotonic() + RECEIPT_TIMEOUT_S
        while (receipt := self.ask("eth_getTransactionReceipt", digest)) is None:
            if time.monotonic() > deadline_s:
                raise TimeoutError("the transaction is in no block")
            time.sleep(0.05)
        return receipt


@dataclass(frozen=True)
class Contract:
    """A contract on chain."""

    chain: Chain
    address: str
    abi: list[dict[str, Any]]
    gas_used: int
    """By its deployment."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what a function returns: a value, or a tuple of several."""
        data, function = self._calldata(name, arguments)
        answer = self.chain.ask("eth_call", {"to": self.address, "data": data}, "latest")
        values = decode(_types(function["outputs"]), bytes.fromhex(answer[2:]))
        return values[0] if len(values) == 1 else values

    def send(self, name: str, *arguments: Any, sender: str | None = None, value: int = 0) -> Receipt:
        """Call a function in a transaction."""
        data, _ = self._calldata(name, arguments)
        transaction = {"to": self.address, "data": data, "value": hex(value)}
        receipt = self.chain.transact(transaction, sender or self.chain.accounts[0])
        return Receipt(int(receipt["gasUsed"], 16), self._events(receipt["logs"]))

    def _calldata(self, name: str, arguments: tuple[Any, ...]) -> tuple[str, dict[str, Any]]:
        (function,) = (item for item in self.abi if item["type"] == "function" and item["name"] == name)
        selector = function_signature_to_4byte_selector(_signature(function))
        return f"0x{(selector + encode(_types(function['inputs']), arguments)).hex()}", function

    def _events(self, logs: list[dict[str, Any]]) -> dict[str, list[Any]]:
        events = {}
        for log in logs:
            for item in self.abi:
                if item["type"] == "event" and log["topics"][0] == _topic(item):
                    plain = [argument for argument in item["inputs"] if not argument["indexed"]]
                    events[item["name"]] = list(decode(_types(plain), bytes.fromhex(log["data"][2:])))
        return events


@cache
def _compiled(file: Path, name: str) -> CompiledContract:
    return compile_contract(file.read_text(encoding="utf-8"), name, NODE_MODULES, optimizer_runs=200)


def _signature(item: dict[str, Any]) -> str:
    return str(abi_to_signature(item))  # type: ignore[arg-type] # an item of solc's own ABI


def _topic(item: dict[str, Any]) -> str:
    from eth_hash.auto import keccak  # noqa: PLC0415 - beside its one use

    return f"0x{keccak(_signature(item).encode()).hex()}"


def _types(inputs: list[dict[str, Any]]) -> list[str]:
    return [_type(item) for item in inputs]


def _type(item: dict[str, Any]) -> str:
    kind = str(item["type"])
    if kind.startswith("tuple"):
        return f"({','.join(_types(item['components']))}){kind.removeprefix('tuple')}"
    return kind
