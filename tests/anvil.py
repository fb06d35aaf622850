"""A real chain node on this machine: anvil, from npm."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

from tests.contracts import NODE_MODULES

# the node answers at once, and mines when it gets a processor
RECEIPT_S = 30.0
LISTENING = re.compile(r"Listening on ([\d.]+):(\d+)")


@dataclass(frozen=True)
class Anvil:
    """A node with unlocked accounts."""

    url: str

    def ask(self, method: str, *parameters: Any) -> Any:
        """Call a JSON-RPC method; returns its result."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = httpx2.post(self.url, json=request, timeout=30).json()
        assert "result" in answer, answer
        return answer["result"]

    def deploy(self, bytecode: bytes, types: Sequence[str] = (), values: Sequence[Any] = ()) -> str:
        """Deploy a contract in a transaction; returns its address."""
        receipt = self._send({"data": f"0x{(bytecode + encode(types, values)).hex()}"})
        return str(receipt["contractAddress"])

    def send(self, address: str, signature: str, *values: Any) -> Any:
        """Call a function in a transaction; returns the receipt."""
        types = [part for part in signature.partition("(")[2].rstrip(")").split(",") if part]
        calldata = function_signature_to_4byte_selector(signature) + encode(types, values)
        return self._send({"to": address, "data": f"0x{calldata.hex()}"})

    def send_calldata(self, address: str, calldata: str) -> Any:
        """Send calldata as it is; returns the receipt."""
        return self._send({"to": address, "data": calldata})

    def _send(self, transaction: dict[str, str]) -> Any:
        sender = self.ask("eth_accounts")[0]
        hash_ = self.ask("eth_sendTransaction", {"from": sender, "gas": hex(20_000_000), **transaction})
        deadline = time.monotonic() + RECEIPT_S
        while (receipt := self.ask("eth_getTransactionReceipt", hash_)) is None:
            assert time.monotonic() < deadline, f"{hash_} was not mined"
            time.sleep(0.05)
        assert receipt["status"] == "0x1", receipt
        return receipt


@contextmanager
def anvil() -> Iterator[Anvil]:
    """Run a node on a free port."""
    command = [str(NODE_MODULES / ".bin" / "anvil"), "--port", "0", "--gas-limit", "60000000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    reader = threading.Thread(target=process.stdout.read, daemon=True)
    try:
        found = next((m for line in process.stdout if (m := LISTENING.search(line))), None)
        assert found is not None, "anvil did not start"
        reader.start()  # or it would wait for one, once the pipe is full
        yield Anvil(f"http://{found[1]}:{found[2]}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # npm's command is a wrapper around the node itself
        process.wait()
        if reader.ident is not None:
            reader.join()
        process.stdout.close()
