"""Types as settings name them, ``(string text, (string role, string content)[] messages)``, and JSON.

In JSON, ``bytes`` and addresses are hex with 0x, numbers are whole, and a tuple is an object where all its
parts have names, a list otherwise. A list of types with one part and no name stands for that part alone.
"""

import re
from dataclasses import dataclass
from typing import Any

from eth_abi.exceptions import ABITypeError, ParseError
from eth_abi.registry import registry

from domain.errors import ConfigurationError

PART = re.compile(r"(?P<type>[a-z][a-z0-9]*)?(?P<arrays>(\[\d*\])*)(?:\s+(?P<name>[A-Za-z_]\w*))?")


@dataclass(frozen=True, slots=True)
class AbiType:
    """A type, its name, and its parts where it is a tuple."""

    base: str
    arrays: str
    name: str
    parts: tuple["AbiType", ...]

    @property
    def canonical(self) -> str:
        """As eth-abi writes it."""
        inner = f"({','.join(part.canonical for part in self.parts)})" if self.base == "tuple" else self.base
        return inner + self.arrays

    def to_json(self, value: Any) -> Any:
        """Return a decoded value as JSON."""
        return self._to_json(value, self.arrays)

    def from_json(self, value: Any) -> Any:
        """Return JSON as eth-abi takes it.

        Raises:
            ValueError: it is of another form; says of which.
        """
        return self._from_json(value, self.arrays)

    def _to_json(self, value: Any, arrays: str) -> Any:
        if arrays:
            rest = arrays[: arrays.rindex("[")]
            return [self._to_json(item, rest) for item in value]
        if self.base == "tuple":
            return values_to_json(self.parts, value)
        return f"0x{value.hex()}" if isinstance(value, bytes) else value

    def _from_json(self, value: Any, arrays: str) -> Any:
        if arrays:
            if not isinstance(value, list | tuple):
                raise ValueError(f"{self.name or self.canonical} should be a list")
            rest = arrays[: arrays.rindex("[")]
            return [self._from_json(item, rest) for item in value]
        if self.base == "tuple":
            return values_from_json(self.parts, value)
        if self.base.startswith("bytes"):
            return _bytes(value, self.name or self.canonical)
        if self.base.startswith(("int", "uint")) and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{self.name or self.canonical} should be a whole number")
        return value


def values_to_json(types: tuple[AbiType, ...], values: tuple[Any, ...]) -> Any:
    """Return decoded values as JSON: an object, a list, or the one value."""
    converted = [part.to_json(value) for part, value in zip(types, values, strict=True)]
    if all(part.name for part in types):
        return {part.name: value for part, value in zip(types, converted, strict=True)}
    return converted[0] if len(converted) == 1 else converted


def values_from_json(types: tuple[AbiType, ...], data: Any) -> list[Any]:
    """Return JSON as values for eth-abi; the inverse of ``values_to_json``.

    Raises:
        ValueError: a field is missing, or of another form.
    """
    if all(part.name for part in types) and types:
        if not isinstance(data, dict):
            raise ValueError("should be an object")
        missing = [part.name for part in types if part.name not in data]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        return [part.from_json(data[part.name]) for part in types]
    if len(types) == 1:
        return [types[0].from_json(data)]
    if not types:
        return []
    if not isinstance(data, list | tuple) or len(data) != len(types):
        raise ValueError(f"should be a list of {len(types)}")
    return [part.from_json(value) for part, value in zip(types, data, strict=True)]


def parse_types(text: str) -> tuple[AbiType, ...]:
    """Read types in parentheses.

    Raises:
        ConfigurationError: it is no list of ABI types.
    """
    stripped = text.strip()
    if not (stripped.startswith("(") and stripped.endswith(")")):
        raise ConfigurationError(f"ABI types must stand in parentheses, like (string text): {text!r}")
    return tuple(_parse_part(part, text) for part in _split(stripped[1:-1], text))


def _parse_part(text: str, whole: str) -> AbiType:
    stripped = text.strip()
    end = _closing(stripped, whole) + 1 if stripped.startswith("(") else 0
    parts = parse_types(stripped[:end]) if end else ()
    found = PART.fullmatch(stripped[end:])
    if found is None or (found["type"] is None) == (end == 0):
        raise ConfigurationError(f"{stripped!r} in {whole!r} is no ABI type")
    parsed = AbiType(found["type"] or "tuple", found["arrays"], found["name"] or "", parts)
    try:
        registry.get_encoder(parsed.canonical)
    except (ABITypeError, ParseError, ValueError) as error:
        raise ConfigurationError(f"{stripped!r} in {whole!r} is no ABI type: {error}") from error
    return parsed


def _split(text: str, whole: str) -> list[str]:
    if not text.strip():
        return []
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            raise ConfigurationError(f"the parentheses of {whole!r} do not match")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _closing(text: str, whole: str) -> int:
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position
    raise ConfigurationError(f"the parentheses of {whole!r} do not match")


def _bytes(value: Any, name: str) -> bytes:
    if isinstance(value, str):
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            pass
    raise ValueError(f"{name} should be hex digits")
