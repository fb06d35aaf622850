"""A real EVM in process (revm): deploys and calls contracts, and tells the gas."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector
from pyrevm import EVM

CALLER = "0x" + "aa" * 20
_REVERTED = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")


@dataclass(frozen=True)
class Outcome:
    """What became of a call: its gas is that of a transaction."""

    succeeded: bool
    output: bytes
    gas: int

    def reverted_with(self, signature: str, *values: Any) -> bool:
        """Tell whether the call reverted with a custom error of these values."""
        types = [part for part in signature.partition("(")[2].rstrip(")").split(",") if part]
        expected = function_signature_to_4byte_selector(signature) + encode(types, values)
        return not self.succeeded and self.output == expected


class Chain:
    """A chain with one account that may do everything."""

    def __init__(self) -> None:
        self._evm = EVM(gas_limit=100_000_000, spec_id="CANCUN")
        self._evm.set_balance(CALLER, 10**24)

    def deploy(self, bytecode: bytes, types: Sequence[str] = (), values: Sequence[Any] = ()) -> str:
        """Deploy a contract; returns its address.

        Raises:
            DeploymentError: its constructor reverted.
        """
        try:
            address: str = self._evm.deploy(CALLER, bytecode + encode(types, values))
        except RuntimeError as error:
            raise DeploymentError(_outcome(error)) from None
        return address

    def call(self, address: str, calldata: bytes) -> Outcome:
        """Call a contract in a transaction of its own."""
        try:
            output = self._evm.message_call(CALLER, address, calldata=calldata)
        except RuntimeError as error:
            return _outcome(error)
        assert self._evm.result is not None
        return Outcome(succeeded=True, output=bytes(output), gas=int(self._evm.result.gas_used))

    def send(self, address: str, signature: str, *values: Any) -> Outcome:
        """Call a function."""
        types = [part for part in signature.partition("(")[2].rstrip(")").split(",") if part]
        return self.call(address, function_signature_to_4byte_selector(signature) + encode(types, values))


class DeploymentError(Exception):
    """A constructor reverted."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.output.hex())
        self.outcome = outcome


def _outcome(error: RuntimeError) -> Outcome:
    found = _REVERTED.search(str(error))
    if found is None:
        return Outcome(succeeded=False, output=str(error).encode(), gas=0)
    return Outcome(succeeded=False, output=bytes.fromhex(found[2]), gas=int(found[1]))
