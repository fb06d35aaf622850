"""Codecs against vectors made by ethers, in random round trips, and on what no contract should send."""

import json
import random
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.infernet import build_codec
from adapters.infernet.abi import MAX_INPUT_BYTES
from adapters.infernet.ritual_vector import (
    Arithmetic,
    DataType,
    RitualVector,
    decode_vector,
    encode_vector,
)
from domain.chain import ChainFormat, ChainReply
from domain.errors import ConfigurationError, EncodingError, InvalidRequestError
from domain.fixed_point import decimals_from_real
from domain.ports import ChainCodec

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "codecs.json").read_text())
NUM_ROUND_TRIPS = 2_000
"""Of each of the five properties: 10,000 in all."""
NUM_MALFORMED = 10_000

texts = st.text(st.characters(exclude_categories=["Cs"]))
int256 = st.integers(-(2**255), 2**255 - 1)
reals = st.floats(-1e15, 1e15, allow_nan=False)
addresses = st.binary(min_size=20, max_size=20).map(lambda data: f"0x{data.hex()}")


def codec_of(codec: str, **options: str) -> ChainCodec:
    return build_codec(ChainFormat.model_validate({"codec": codec, **options}))


def named(cases: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in cases])


@named(GOLDEN["decode"])
def test_input_reads_as_ethers_wrote_it(case: dict[str, Any]) -> None:
    data = build_codec(ChainFormat.model_validate(case["format"])).decode(bytes.fromhex(case["hex"]))

    expected = case.get("data", {"vector": [int(number) for number in case.get("strings", [])]})
    assert data == expected


@named(GOLDEN["encode"])
def test_a_reply_is_written_as_ethers_would(case: dict[str, Any]) -> None:
    raw_input = None if case["raw_input"] is None else bytes.fromhex(case["raw_input"])
    reply = build_codec(ChainFormat.model_validate(case["format"])).encode(
        case["reply"], case["data"], raw_input
    )

    assert reply.fields() == case["fields"]


@settings(max_examples=NUM_ROUND_TRIPS)
@given(text=texts, answer=texts)
def test_texts_come_back(text: str, answer: str) -> None:
    codec = codec_of("text")
    raw_input = encode(["string"], [text])

    assert codec.decode(raw_input) == text
    reply = codec.encode(answer, text, None)
    assert reply.raw_input == raw_input
    assert decode(["string"], reply.raw_output) == (answer,)


@settings(max_examples=NUM_ROUND_TRIPS)
@given(
    turns=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), max_size=5), text=texts
)
def test_conversations_come_back(turns: list[tuple[str, str]], text: str) -> None:
    codec = codec_of("messages")
    messages = [*turns, ("user", text)]
    raw_input = encode(["uint8", "uint8", "string", "(string,string)[]"], [0, 0, "", messages])

    data = codec.decode(raw_input)
    assert codec.encode("yes", data, None).raw_input == raw_input


@settings(max_examples=NUM_ROUND_TRIPS)
@given(data=st.data(), dtype=st.sampled_from(DataType), arithmetic=st.sampled_from(Arithmetic))
def test_tensors_come_back(data: Any, dtype: DataType, arithmetic: Arithmetic) -> None:
    values = tuple(data.draw(st.lists(values_of(dtype, arithmetic), max_size=6)))
    vector = RitualVector(dtype, (len(values),), values)

    read = decode_vector(encode_vector(vector, arithmetic, 4), "data")

    assert (read.dtype, read.shape) == (dtype, (len(values),))
    if dtype.is_float and arithmetic is Arithmetic.FIXED_POINT:
        assert [decimals_from_real(value, 4) for value in read.values] == [
            decimals_from_real(value, 4) for value in values
        ]
    else:
        assert read.values == values


def values_of(dtype: DataType, arithmetic: Arithmetic) -> st.SearchStrategy[Any]:
    if dtype is DataType.BOOL:
        return st.sampled_from([0, 1])
    bits = int(re.sub(r"\D", "", dtype.solidity_type) or 0)
    if not dtype.is_float:
        is_signed = dtype.solidity_type.startswith("int")
        return st.integers(-(2 ** (bits - 1)) if is_signed else 0, 2 ** (bits - is_signed) - 1)
    if arithmetic is Arithmetic.FIXED_POINT:
        most = min(2.0 ** (bits - 1) / 10**4 * 0.99, 1e15)
        return st.floats(-most, most)
    return st.floats(width=min(bits, 64), allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]


@settings(max_examples=NUM_ROUND_TRIPS)
@given(
    message_id=st.integers(0, 2**48 - 1), key=addresses, text=texts, rationale=texts, vector=st.lists(reals)
)
def test_agent_replies_come_back(
    message_id: int, key: str, text: str, rationale: str, vector: list[float]
) -> None:
    codec = codec_of("agent_reply")
    data = codec.decode(encode(["uint48", "address", "string"], [message_id, key, text]))
    reply = codec.encode({"rationale": rationale, "vector": vector}, data, b"")

    assert isinstance(data, dict)
    assert (data["messageId"], data["key"], data["text"]) == (str(message_id), key, text)
    _, reported_id, reported_key = decode(["bytes32", "uint48", "address"], reply.raw_input)
    assert (reported_id, reported_key) == (message_id, key)
    written, vectors = decode(["string", "bytes"], reply.raw_output)
    (numbers,) = decode(["int256[]"], vectors)
    assert written == rationale
    for number, real in zip(numbers, vector, strict=True):
        assert abs(Fraction(number, 10**18) - Fraction(real)) <= Fraction(1, 2 * 10**18)


@settings(max_examples=NUM_ROUND_TRIPS)
@given(vector=st.lists(int256), index=st.integers(0, 255), proof=st.binary(max_size=64))
def test_summaries_come_back(vector: list[int], index: int, proof: bytes) -> None:
    codec = codec_of("summarizer")
    raw_input = encode(["int256[]"], [vector])
    data = codec.decode(raw_input)
    values = {"calldata": {"verifyProof": f"0x{proof.hex()}"}, "values": {"input_hash": ["0x7"]}}
    reply = codec.encode({"action_index": index, "proof": values}, data, raw_input)

    assert data == {"vector": vector}
    assert decode(["bytes", "uint256"], reply.raw_input) == (raw_input, 7)
    assert decode(["uint8"], reply.raw_output) == (index,)
    assert reply.proof == proof


def test_what_is_malformed_is_a_problem_of_data_and_never_anything_else() -> None:
    source = random.Random(7)  # noqa: S311 - repeatable on purpose
    formats = {json.dumps(case["format"]): case["hex"] for case in GOLDEN["decode"]}
    refusals: list[InvalidRequestError] = []
    for _ in range(NUM_MALFORMED):
        declared, hexadecimal = source.choice(list(formats.items()))
        data = mutated(bytes.fromhex(hexadecimal), source)
        try:
            build_codec(ChainFormat.model_validate_json(declared)).decode(data)
        except InvalidRequestError as error:
            refusals.append(error)
    assert len(refusals) > NUM_MALFORMED / 3
    assert all(error.problems[0].field.startswith("data") for error in refusals)
    assert all(error.problems[0].reason for error in refusals)


def mutated(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    match source.randrange(5):
        case 0:
            return bytes(changed[: source.randrange(len(changed))])
        case 1:
            return source.randbytes(source.randrange(0, 300))
        case 2:
            word = 32 * source.randrange(len(changed) // 32)
            changed[word : word + 32] = source.randbytes(32)
        case 3:
            word = 32 * source.randrange(len(changed) // 32)
            changed[word : word + 32] = source.choice([0, 1, 32, 2**31, 2**255]).to_bytes(32, "big")
        case _:
            for _ in range(source.randrange(1, 8)):
                changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize(
    ("codec", "data", "words"),
    [
        ("text", b"", r"data: is empty; the workflow reads \(string\)"),
        ("text", bytes(31), r"data: is no ABI encoding of \(string\)"),
        ("text", encode(["bytes"], [b"\xff\xfe"]), "data: is no ABI encoding"),
        ("text", bytes(MAX_INPUT_BYTES + 1), "data: has 65537 bytes"),
        (
            "messages",
            encode(["uint8", "uint8", "string", "(string,string)[]"], [0, 1, "", []]),
            "data.endpoint",
        ),
        (
            "messages",
            encode(["uint8", "uint8", "string", "(string,string)[]"], [0, 0, "", []]),
            "data.messages",
        ),
        (
            "messages",
            encode(["uint8", "uint8", "string", "(string,string)[]"], [0, 0, "", [("root", "x")]]),
            "data.messages.0.role",
        ),
        (
            "messages",
            encode(["uint8", "uint8", "string", "(string,string)[]"], [0, 0, "", [("assistant", "x")]]),
            "should end with a user's",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(codec: str, data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        codec_of(codec).decode(data)


@pytest.mark.parametrize(
    ("head", "type_", "values", "words"),
    [
        ((0, 18, 13, [1]), "uint64", [1], "dtype 13, which is not taken"),
        ((0, 18, 77, [1]), "uint64", [1], "dtype 77"),
        ((0, 18, 2, [3]), "int64", [1], r"1 values for the shape \[3\]"),
        ((2, 18, 2, [1]), "int64", [1], "arithmetic 2"),
        ((1, 78, 4, [1]), "int256", [1], "78 decimals"),
        ((0, 18, 1, [1]), "int32", [0x7F800000], "not finite"),
        ((0, 18, 4, [1]), "int256", [2**200], "outside of their type"),
    ],
)
def test_a_tensor_that_is_none_is_refused(head: Any, type_: str, values: list[int], words: str) -> None:
    data = encode(["uint8", "uint8", "uint8", "uint16[]", f"{type_}[]"], [*head, values])
    with pytest.raises(InvalidRequestError, match=words):
        decode_vector(data, "data.vector")


@pytest.mark.parametrize(
    ("codec", "reply"),
    [
        ("text", {"answer": 1}),
        ("text", "\ud800"),
        ("messages", {}),
        ("tensor", "text"),
        ("tensor", {"outputs": "12"}),
        ("tensor", {"outputs": [2**63]}),
        ("tensor", {"outputs": [1e30]}),
        ("agent_reply", {"vector": [1.0]}),
        ("agent_reply", {"vector": [1e70], "rationale": ""}),
        ("summarizer", {"action_index": 1}),
        ("summarizer", {"action_index": 256, "proof": {"values": {}}}),
    ],
)
def test_a_reply_that_does_not_fit_is_the_workflows_error(codec: str, reply: Any) -> None:
    data = {"key": f"0x{bytes(20).hex()}", "messageId": "1", "text": "t", "history": []}
    with pytest.raises(EncodingError):
        codec_of(codec).encode(reply, data, b"")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messageId": "x"}, "data.messageId"),
        ({"messageId": str(2**48)}, "data.messageId"),
        ({"messageId": "-1"}, "data.messageId"),
        ({"messageId": "\u0661"}, "data.messageId"),
        ({"key": "0x12"}, "data.key"),
        ({"key": "not hex"}, "data.key"),
        ({"text": 5}, "data.text"),
    ],
)
def test_what_a_delegated_request_lacks_for_the_chain_is_named(change: dict[str, Any], field: str) -> None:
    data = {"key": f"0x{bytes(20).hex()}", "messageId": "1", "text": "t", "history": []} | change
    codec = codec_of("agent_reply")
    for refused in (
        lambda: codec.check_input(data),
        lambda: codec.encode({"vector": [], "rationale": ""}, data, None),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            refused()
        assert caught.value.problems[0].field == field


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ({"codec": "text"}, {"text": "hello"}, {"text": 5}),
        ({"codec": "abi", "input": "(uint8 a, string b)"}, {"a": 1, "b": ""}, {"a": 256, "b": ""}),
        ({"codec": "messages"}, {"key": "", "messageId": "", "text": "t", "history": []}, {"text": "t"}),
        ({"codec": "tensor"}, {"inputs": [1, 2.5]}, {"inputs": ["1"]}),
        ({"codec": "tensor"}, [1], {"inputs": [2**200]}),
        ({"codec": "summarizer"}, {"vector": [-1, 2]}, {"vector": [2**255]}),
        ({"codec": "summarizer"}, [1], {"values": [1]}),
    ],
)
def test_what_the_chain_could_not_be_told_is_refused_before_the_work(
    declared: dict[str, str], good: Any, bad: Any
) -> None:
    codec = codec_of(**declared)
    codec.check_input(good)
    with pytest.raises(InvalidRequestError):
        codec.check_input(bad)


@pytest.mark.parametrize(
    "declared",
    [
        {"codec": "nothing"},
        {"codec": "no.such.module.Codec"},
        {"codec": "json.JSONDecoder"},
        {"codec": "abi", "input": "string"},
        {"codec": "abi", "input": "(text)"},
        {"codec": "abi", "input": "(string"},
        {"codec": "abi", "input": "((string)"},
        {"codec": "abi", "input": "(string))"},
        {"codec": "abi", "input": "(string a b)"},
        {"codec": "abi", "input": "(uint7 a)"},
        {"codec": "abi", "input": "(,)"},
        {"codec": "abi", "output": "(uint8 action)", "layout": "wrapped"},
        {"codec": "abi", "output": "(string, string, string)", "layout": "wrapped"},
        {"codec": "text", "input": "(string)"},
    ],
)
def test_a_declaration_that_cannot_work_is_refused_at_the_start(declared: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        build_codec(ChainFormat.model_validate(declared))


class UpperCodec:
    """A codec of a user's own."""

    def __init__(self, layout: Any) -> None:
        self.layout = layout

    def decode(self, data: bytes) -> str:
        return data.decode().upper()

    def check_input(self, data: Any) -> None:
        """Take anything."""

    def encode(self, reply: Any, data: Any, raw_input: bytes | None) -> ChainReply:
        return ChainReply(raw_input or b"", str(reply).encode())


def test_a_codec_may_be_a_class_of_ones_own() -> None:
    codec = codec_of(f"{__name__}.UpperCodec")

    assert codec.decode(b"hi") == "HI"
    assert codec.encode("yes", "", None).fields()["raw_output"] == b"yes".hex()
