"""Text to token ids and back, by the model's ``tokenizer.json``."""

import json
import re
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import DecodeStream

from domain.errors import ConfigurationError

CONTEXT_TOKENS = 8
"""Of the text before, as far as they bear on how a token reads."""

_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")


@cache
def _byte_of_character() -> dict[str, int]:
    """Return the characters that byte-level vocabularies write bytes as (GPT-2's ``bytes_to_unicode``)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


class Tokenizer:
    """The model's tokenizer; safe to use from several threads.

    Raises:
        ConfigurationError: ``tokenizer.json`` is missing or broken.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._tokenizer = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise ConfigurationError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the token ids of a text; special tokens in it are taken as such.

        Args:
            text: to encode.
            add_special_tokens: whether to begin and end it as the model's texts are; a chat template does so
                itself.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for; of a special token, its name's."""
        token: str = self._tokenizer.id_to_token(token_id) or ""
        if token_id in self._added_ids:
            return token.encode()
        if self._is_byte_level:
            bytes_of = _byte_of_character()
            if all(character in bytes_of for character in token):
                return bytes(bytes_of[character] for character in token)
        if (single := _BYTE_TOKEN.fullmatch(token)) is not None:
            return bytes.fromhex(single[1])
        return token.replace("\u2581", " ").encode()

    @cached_property
    def _added_ids(self) -> frozenset[int]:
        return frozenset(self._tokenizer.get_added_tokens_decoder())

    @cached_property
    def _is_byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self.to_json())["decoder"])

    def to_json(self) -> str:
        """Return the text of ``tokenizer.json``, for a library that reads it anew."""
        text: str = self._tokenizer.to_str()
        return text

    def detokenizer(self, behind: Sequence[int] = ()) -> "Detokenizer":
        """Return a fresh detokenizer for one answer.

        Args:
            behind: the tokens that the answer goes on from; none where it is a text of its own, which some
                tokenizers begin without the space that its first word has.
        """
        return Detokenizer(self._tokenizer, behind)


class Detokenizer:
    """Turns one answer's tokens into text as they come.

    Bytes of a character that is not complete yet are held back; special tokens have no text.
    """

    def __init__(self, tokenizer: FastTokenizer, behind: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(list(behind[-CONTEXT_TOKENS:]), skip_special_tokens=True)

    def step(self, token_id: int) -> str:
        """Return the text that this token completes; often empty for parts of a character."""
        try:
            return self._stream.step(self._tokenizer, token_id) or ""
        except Exception:  # noqa: BLE001 - the library's own have no common base but this
            # bytes that are no text took back what was text already: the stream cannot go on
            self._stream = DecodeStream(skip_special_tokens=True)
            return self._stream.step(self._tokenizer, token_id) or ""
