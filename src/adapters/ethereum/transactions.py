"""Transactions over JSON-RPC: deploys contracts, from an account of the node's or with a private key.

(https://ethereum.org/developers/docs/apis/json-rpc)
"""

import time
from dataclasses import dataclass
from typing import Any

from adapters.ethereum.rpc import ask
from domain.errors import BackendError, ConfigurationError

RECEIPT_TIMEOUT_S = 180.0
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Deployment:
    """A contract on chain."""

    address: str
    gas_used: int


class Deployer:
    """Sends deployments.

    Args:
        rpc_url: of the node.
        private_key: in hex; None: the node's first account signs, as development nodes offer.
    """

    def __init__(self, rpc_url: str, private_key: str | None) -> None:
        self._rpc_url = rpc_url
        self._private_key = private_key

    def deploy(self, bytecode: bytes) -> Deployment:
        """Deploy a contract and wait for its receipt.

        Args:
            bytecode: with the constructor's arguments behind it.

        Raises:
            BackendError: the node cannot be reached or refuses, or the deployment reverted.
            ConfigurationError: nobody can sign.
        """
        data = f"0x{bytecode.hex()}"
        digest = self._send_signed(data) if self._private_key else self._send_from_node(data)
        deadline_s = time.monotonic() + RECEIPT_TIMEOUT_S
        while (receipt := ask(self._rpc_url, "eth_getTransactionReceipt", digest)) is None:
            if time.monotonic() > deadline_s:
                raise BackendError(f"no receipt of the deployment {digest} in {RECEIPT_TIMEOUT_S:g} s")
            time.sleep(POLL_S)
        if int(receipt["status"], 16) != 1:
            raise BackendError(f"the deployment {digest} reverted")
        return Deployment(str(receipt["contractAddress"]), int(receipt["gasUsed"], 16))

    def _send_from_node(self, data: str) -> Any:
        accounts = ask(self._rpc_url, "eth_accounts")
        if not accounts:
            raise ConfigurationError("the node has no account of its own: set LLM_DEPLOYER_PRIVATE_KEY")
        return ask(self._rpc_url, "eth_sendTransaction", {"from": accounts[0], "data": data})

    def _send_signed(self, data: str) -> Any:
        try:
            from eth_account import Account  # noqa: PLC0415 - of the extra "circuit"
        except ImportError as error:
            raise ConfigurationError("eth-account is not installed: install the extra 'circuit'") from error
        try:
            account = Account.from_key(self._private_key)
        except ValueError:
            raise ConfigurationError("LLM_DEPLOYER_PRIVATE_KEY is no private key") from None
        draft = {"from": account.address, "data": data, "value": "0x0"}
        gas_price = int(ask(self._rpc_url, "eth_gasPrice"), 16)
        transaction = {
            "data": data,
            "value": 0,
            "nonce": int(ask(self._rpc_url, "eth_getTransactionCount", account.address, "pending"), 16),
            "gas": int(ask(self._rpc_url, "eth_estimateGas", draft), 16),
            "chainId": int(ask(self._rpc_url, "eth_chainId"), 16),
            "maxFeePerGas": 2 * gas_price,
            "maxPriorityFeePerGas": min(gas_price, 10**9),
        }
        signed = account.sign_transaction(transaction)
        return ask(self._rpc_url, "eth_sendRawTransaction", f"0x{bytes(signed.raw_transaction).hex()}")
