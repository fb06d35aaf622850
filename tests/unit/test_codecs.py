"""Codecs against vectors made by ethers, in random round trips, and on input made to hurt."""

import json
import re
import time
import tracemalloc
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.infernet import abi, build_codec
from adapters.infernet.abi import MAX_INPUT_BYTES
from adapters.infernet.ritual_vector import DataType, RitualVector, decode_vector, encode_vector
from domain.chain import ChainFormat, ChainReply
from domain.errors import ConfigurationError, EncodingError, InvalidRequestError
from domain.fixed_point import decimals_from_real
from domain.ports import ChainCodec

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "codecs.json").read_text())
NUM_ROUND_TRIPS = 2_000
"""Of each of the five properties: 10,000 in all."""

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
@given(data=st.data(), dtype=st.sampled_from(DataType), is_fixed_point=st.booleans())
def test_tensors_come_back(data: Any, dtype: DataType, is_fixed_point: bool) -> None:
    decimals = 4 if dtype.is_float and is_fixed_point else None
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
    size = prod(shape)
    values = tuple(data.draw(st.lists(values_of(dtype, decimals), min_size=size, max_size=size)))
    raw = encode(["bytes", "bytes"], [b"", encode_vector(RitualVector(dtype, shape, values, decimals))])
    codec = codec_of("tensor")

    read = codec.decode(raw)

    assert isinstance(read, dict)
    assert (read["shape"], read["dtype"]) == (list(shape), dtype.name.lower())
    assert read.get("decimals") == decimals
    if decimals is None:
        assert tuple(read["inputs"]) == values
    else:
        assert [decimals_from_real(value, 4) for value in read["inputs"]] == [
            decimals_from_real(value, 4) for value in values
        ]
    as_reply = {"outputs": read["inputs"], **{name: read[name] for name in read if name != "inputs"}}
    written = codec.encode(as_reply, read, None)
    assert written.raw_input == raw
    assert encode(["bytes", "bytes"], [b"", written.raw_output]) == raw


def values_of(dtype: DataType, decimals: int | None) -> st.SearchStrategy[Any]:
    if dtype is DataType.BOOL:
        return st.sampled_from([0, 1])
    bits = int(re.sub(r"\D", "", dtype.solidity_type) or 0)
    if not dtype.is_float:
        is_signed = dtype.solidity_type.startswith("int")
        return st.integers(-(2 ** (bits - 1)) if is_signed else 0, 2 ** (bits - is_signed) - 1)
    if decimals is not None:
        # no more digits than a double holds
        most = min(2.0 ** (bits - 1) / 10**decimals * 0.99, 1e11)
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


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def pointing(sizes: list[int], innermost: bytes) -> bytes:
    """Return an array of arrays whose items all point to the same one."""
    for size in reversed(sizes):
        innermost = word(size) + word(32 * size) * size + innermost
    return word(32) + innermost


LONG_TEXT = word(20_000) + b"a" * 20_000
SAME_MESSAGE = word(64) + word(128) + word(4) + b"user".ljust(32, b"\0") + LONG_TEXT
BOMBS = {
    "(string[][] a)": pointing([600, 600], LONG_TEXT),
    "(string[] a)": pointing([1_000], LONG_TEXT),
    "(uint8[][][] a)": pointing([600, 600], word(600) + word(1) * 600),
    "(bytes[][][][][] a)": pointing([300] * 5, word(0)),
    "((string role, string content)[] a)": pointing([1_000], SAME_MESSAGE),
}


@pytest.mark.parametrize("types", BOMBS)
def test_pointers_that_make_much_of_little_are_refused_at_once(types: str) -> None:
    codec = codec_of("abi", input=types)
    tracemalloc.start()
    started_s = time.monotonic()
    with pytest.raises(InvalidRequestError, match="data: points to the same bytes too often"):
        codec.decode(BOMBS[types])
    duration_s, (_, peak_bytes) = time.monotonic() - started_s, tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(BOMBS[types]) <= MAX_INPUT_BYTES
    assert duration_s < 1
    assert peak_bytes < 32 * MAX_INPUT_BYTES


@pytest.mark.parametrize(
    ("types", "value"),
    [
        ("string[][]", [["a"] * 25] * 25),
        ("uint8[][][]", [[[1] * 10] * 10] * 10),
        ("(((((uint8)))),string)[]", [(((((1,),),),), "a")] * 200),
        ("bytes", bytes(MAX_INPUT_BYTES - 64)),
        ("(string,(uint8,uint8[2],string)[2])[]", [("", [(1, [2, 3], "")] * 2)] * 60),
    ],
)
def test_input_that_is_long_or_deep_and_honest_is_read(types: str, value: Any) -> None:
    data = encode([types], [value])

    assert abi.decode([types], data) == decode([types], data)


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
        ("tensor", {"outputs": [[1, 2], [3]]}),
        ("tensor", {"outputs": [[1], 2]}),
        ("tensor", {"outputs": [True]}),
        ("tensor", {"outputs": [float("inf")], "dtype": "float64"}),
        ("tensor", {"outputs": [10**400], "dtype": "float64"}),
        ("tensor", {"outputs": [1e6], "dtype": "float16"}),
        ("tensor", {"outputs": [0.5], "dtype": "int8"}),
        ("tensor", {"outputs": [128], "dtype": "int8"}),
        ("tensor", {"outputs": [2], "dtype": "bool"}),
        ("tensor", {"outputs": [1], "dtype": "complex64"}),
        ("tensor", {"outputs": [1], "dtype": ["int8"]}),
        ("tensor", {"outputs": [1], "dtype": "int8", "decimals": 2}),
        ("tensor", {"outputs": [1], "decimals": 10**9}),
        ("tensor", {"outputs": [1], "decimals": -1}),
        ("tensor", {"outputs": [1, 2], "shape": [3]}),
        ("tensor", {"outputs": [1, 2], "shape": [-1, -2]}),
        ("tensor", {"outputs": [1, 2], "shape": 2}),
        ("tensor", {"outputs": [1], "shape": [1] * 10**5}),
        ("tensor", {"outputs": [0] * 65_536}),
        ("agent_reply", {"rationale": "because"}),
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
    ("data", "problem"),
    [
        ({}, "data.inputs: should be a list of numbers"),
        ("text", "data.inputs: should be a list of numbers"),
        ([[1, 2], [3]], "data.inputs: should be a list of numbers"),
        ({"inputs": [1e30]}, "data.inputs: "),
        ({"inputs": [1], "dtype": "float8"}, "data.dtype: should be one of float16, "),
        ({"inputs": [1], "decimals": 78}, "data.decimals: should be a whole number up to 77"),
        ({"inputs": [1], "dtype": "int8", "decimals": 0}, "data.decimals: "),
        ({"inputs": [1, 2], "shape": [3]}, "data.shape: "),
        ({"inputs": [65_536], "dtype": "uint16"}, "data.inputs: "),
    ],
)
def test_a_tensor_that_a_delegated_request_cannot_have_is_named(data: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{problem}"):
        codec_of("tensor").encode({"outputs": [1]}, data, None)


@pytest.mark.parametrize("layout", ["exact", "wrapped"])
def test_an_agent_without_a_rationale_gives_an_empty_one(layout: str) -> None:
    codec = codec_of("agent_reply", layout=layout)
    data = {"key": f"0x{bytes(20).hex()}", "messageId": "1", "text": "t", "history": []}
    reply = codec.encode({"action": "buy", "vector": [1.0]}, data, None)

    vectors = encode(["int256[]"], [[10**18]])
    if layout == "exact":
        assert decode(["string", "bytes"], reply.raw_output) == ("", vectors)
    else:
        assert (reply.raw_output, reply.processed_output) == (b"", vectors)


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
        {"codec": "text", "dtype": "int8"},
        {"codec": "abi", "decimals": 2},
        {"codec": "tensor", "input": "(string)"},
        {"codec": "tensor", "dtype": "float8"},
        {"codec": "tensor", "decimals": 78},
        {"codec": "tensor", "decimals": -1},
        {"codec": "tensor", "dtype": "int8", "decimals": 2},
    ],
)
def test_a_declaration_that_cannot_work_is_refused_at_the_start(declared: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("data", ["dtype", ["decimals"], {"inputs": "shape"}, {}])
def test_a_delegated_tensor_that_is_none_is_refused_by_its_field(data: Any) -> None:
    codec = build_codec(ChainFormat(codec="tensor"))

    with pytest.raises(InvalidRequestError, match=r"^data\.inputs"):
        codec.check_input(data)
