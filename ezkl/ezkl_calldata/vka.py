"""Verifying-key artefacts: the words that EZKL's reusable verifier takes with each call.

The file is an unsigned 64-bit count, least significant byte first, and that many words of 32 bytes.
"""

from collections.abc import Sequence

from ezkl_calldata.errors import CalldataError

COUNT_BYTES = 8
WORD = 32


def read_vka(content: bytes) -> tuple[bytes, ...]:
    """Return the words in a file's content.

    Raises:
        CalldataError: it is cut off, or longer than it says.
    """
    count = int.from_bytes(content[:COUNT_BYTES], "little")
    if len(content) < COUNT_BYTES or len(content) != COUNT_BYTES + count * WORD:
        raise CalldataError("the length of the verifying-key artefact is not the one it states")
    return tuple(content[start : start + WORD] for start in range(COUNT_BYTES, len(content), WORD))


def write_vka(words: Sequence[bytes]) -> bytes:
    """Return the file's content for some words; the inverse of ``read_vka``."""
    if any(len(word) != WORD for word in words):
        raise CalldataError(f"a word of a verifying-key artefact has {WORD} bytes")
    return len(words).to_bytes(COUNT_BYTES, "little") + b"".join(words)
