"""Chains of Ethereum's kind, over JSON-RPC."""

from adapters.ethereum.rpc import CallOutcome, call_contract
from adapters.ethereum.transactions import Deployer, Deployment

__all__ = ["CallOutcome", "Deployer", "Deployment", "call_contract"]
