"""Circuits and proofs by EZKL."""
