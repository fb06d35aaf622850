"""Makes ``tokenizer.json`` of the byte-level BPE vocabulary in a GGUF file."""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from domain.errors import ConfigurationError


class TokenType(IntEnum):
    """``tokenizer.ggml.token_type``: what a token is (llama.cpp's ``llama_token_type``)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class GGUFTokenizer:
    """A GGUF file's tokenizer fields."""

    model: str
    pre_tokenizer: str
    tokens: list[str]
    token_types: list[int]
    merges: list[str]
    bos_token_id: int | None
    eos_token_id: int
    pad_token_id: int
    chat_template: str | None
    adds_bos: bool | None
    """None: as is usual for its pre-tokenizer."""


LLAMA3_NAMES = frozenset({"llama-bpe", "llama3"})

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def _byte_level(*, use_regex: bool) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), _byte_level(use_regex=False)],
    )


def _pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    match name:
        case "smollm":
            return pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), _byte_level(use_regex=True)]
            )
        case "gpt-2" | "default":
            return _byte_level(use_regex=True)
        case _ if name in LLAMA3_NAMES:
            return _split(_LLAMA3_SPLIT)
        case "qwen2":
            return _split(_QWEN2_SPLIT)
        case _:
            raise ConfigurationError(
                f"the pre-tokenizer {name!r} of this GGUF file is not known to the builder: "
                "build from the model's safetensors folder, which holds its tokenizer.json",
            )


def write_gguf_tokenizer(fields: GGUFTokenizer, folder: Path) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``.

    Raises:
        ConfigurationError: the vocabulary is broken or not byte-level BPE, or its pre-tokenizer is unknown.
    """
    if fields.model != "gpt2":
        raise ConfigurationError(
            f"this GGUF file has a tokenizer of the kind {fields.model!r}; the builder reads byte-level BPE "
            "('gpt2'): build from the model's safetensors folder, which holds its tokenizer.json",
        )
    _tokenizer(fields).save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "GPT2Tokenizer",
        "clean_up_tokenization_spaces": False,
        "eos_token": fields.tokens[fields.eos_token_id],
        "pad_token": fields.tokens[fields.pad_token_id],
    }
    if fields.bos_token_id is not None:
        config["bos_token"] = fields.tokens[fields.bos_token_id]
    if fields.chat_template is not None:
        config["chat_template"] = fields.chat_template
        (folder / "chat_template.jinja").write_text(fields.chat_template, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _tokenizer(fields: GGUFTokenizer) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(fields.tokens)}
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in fields.merges)]
    try:
        tokenizer = Tokenizer(
            models.BPE(vocabulary, merges, ignore_merges=fields.pre_tokenizer in LLAMA3_NAMES)
        )
    except Exception as error:  # the library raises plain Exception
        raise ConfigurationError(f"the tokenizer of this GGUF file is broken: {error}") from error
    if fields.pre_tokenizer == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(fields.pre_tokenizer)
    tokenizer.decoder = decoders.ByteLevel()
    # llama.cpp's default, where the file does not say
    adds_bos = fields.pre_tokenizer in LLAMA3_NAMES if fields.adds_bos is None else fields.adds_bos
    if adds_bos and fields.bos_token_id is not None:
        bos = fields.tokens[fields.bos_token_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], special_tokens=[(bos, fields.bos_token_id)]
        )
    special = {TokenType.CONTROL, TokenType.UNKNOWN}
    for kinds, is_special in ((special, True), ({TokenType.USER_DEFINED}, False)):
        added = [
            AddedToken(token, special=is_special, normalized=False)
            for token, kind in zip(fields.tokens, fields.token_types, strict=True)
            if kind in kinds
        ]
        tokenizer.add_special_tokens(added) if is_special else tokenizer.add_tokens(added)
    return tokenizer
