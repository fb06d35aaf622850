"""Tokens become text as they come, whatever bytes they are."""

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE, WordLevel

from adapters.onnx.tokenizer import Detokenizer

VOCAB = {"<unk>": 0, "x": 1, "y": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
X, Y = 1, 2


def byte_token(byte: int) -> int:
    return VOCAB[f"<0x{byte:02X}>"]


def byte_fallback_tokenizer() -> Tokenizer:
    """As Llama 2 and Mistral have it: what is not in the vocabulary is written in bytes."""
    tokenizer = Tokenizer(BPE(VOCAB, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken("</s>")])
    return tokenizer


def word_tokenizer() -> Tokenizer:
    """As Llama 2 has it: a word has its space in front, which a text does not begin with."""
    tokenizer = Tokenizer(WordLevel({"▁one": 0, "▁two": 1, "▁three": 2}, unk_token="▁one"))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def test_what_goes_on_from_a_text_keeps_the_space_of_its_first_word() -> None:
    alone = Detokenizer(word_tokenizer())
    behind = Detokenizer(word_tokenizer(), behind=[0] * 20)

    assert [alone.step(1), alone.step(2)] == ["two", " three"]
    assert [behind.step(1), behind.step(2)] == [" two", " three"]


def test_the_bytes_of_a_character_are_held_back_until_it_is_complete() -> None:
    detokenizer = Detokenizer(byte_fallback_tokenizer())

    texts = [detokenizer.step(token) for token in [X, *map(byte_token, "é".encode()), Y]]

    assert texts == ["x", "", "é", "y"]


def test_bytes_that_are_no_text_behind_some_that_are_end_no_answer() -> None:
    detokenizer = Detokenizer(byte_fallback_tokenizer())

    texts = [detokenizer.step(token) for token in [byte_token(0x0A), byte_token(0xE4), X, Y, X, Y]]

    assert texts[0] == "\n"
    assert "".join(texts[2:]).endswith("xy")
