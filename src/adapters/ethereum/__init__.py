"""Asks a node of an EVM chain."""

from adapters.ethereum.rpc import CallOutcome, call_contract

__all__ = ["CallOutcome", "call_contract"]
