"""A backend without a model: answers from a script, for wiring, load tests and the tests of others."""

from adapters.scripted.generator import ScriptedTextGenerator

__all__ = ["ScriptedTextGenerator"]
