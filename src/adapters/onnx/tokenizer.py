"""Text to token ids and back, by the model's ``tokenizer.json``."""

from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import DecodeStream

from domain.errors import ConfigurationError


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

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a rendered prompt; special tokens in it are taken as such."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def to_json(self) -> str:
        """Return the text of ``tokenizer.json``, for a library that reads it anew."""
        text: str = self._tokenizer.to_str()
        return text

    def detokenizer(self) -> "Detokenizer":
        """Return a fresh detokenizer for one answer."""
        return Detokenizer(self._tokenizer)


class Detokenizer:
    """Turns one answer's tokens into text as they come.

    Bytes of a character that is not complete yet are held back; special tokens have no text.
    """

    def __init__(self, tokenizer: FastTokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def step(self, token_id: int) -> str:
        """Return the text that this token completes; often empty for parts of a character."""
        return self._stream.step(self._tokenizer, token_id) or ""
