"""What a caller may send."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError, model_validator

from domain.errors import InvalidRequestError
from domain.requests import InfernetInput, InfernetInputSource, LLMRequest
from domain.validation import MAX_PROBLEMS, validated

SEED_DATA = {"text": "hello", "key": "123", "messageId": "123456", "history": []}


@pytest.mark.parametrize(
    "payload",
    [
        {"source": 1, "data": SEED_DATA},
        {"source": 1, "data": SEED_DATA, "destination": 1, "requires_proof": False},
        {"source": 1, "data": SEED_DATA, "destination": None, "requires_proof": None},
        {"source": 1, "data": SEED_DATA, "type": "job/delegated", "id": "a-field-some-node-adds"},
        {"source": 1, "data": {}},
        {"source": 0, "data": "c0ffee"},
        {"source": 0, "data": "0xC0FFEE"},
        {"source": 0, "data": "  c0ffee "},
        {"source": 0, "data": ""},
        {"source": 0, "data": "0x"},
        {"source": 0, "data": "c0f"},  # the seed's pattern asks for no even number of digits
    ],
)
def test_payloads_of_the_seed_and_of_later_nodes_are_valid(payload: dict[str, Any]) -> None:
    assert validated(InfernetInput, payload).source in InfernetInputSource


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"data": SEED_DATA}, "source"),
        ({"source": 1}, "data"),
        ({"source": 2, "data": SEED_DATA}, "source"),
        ({"source": "chain", "data": SEED_DATA}, "source"),
        ({"source": 0, "data": [1]}, "data"),
        ({"source": 0, "data": SEED_DATA}, "data"),
        ({"source": 1, "data": 5}, "data"),
        ({"source": 0, "data": "xyz"}, "data"),
        ({"source": 0, "data": "c0 ff"}, "data"),
        ({"source": 0, "data": "ff\n\nff"}, "data"),
        ({"source": 1, "data": SEED_DATA, "destination": 7}, "destination"),
        ({"source": 1, "data": SEED_DATA, "requires_proof": "perhaps"}, "requires_proof"),
    ],
)
def test_a_wrong_payload_is_refused_with_the_path_of_its_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        validated(InfernetInput, payload)

    assert [problem.field for problem in caught.value.problems] == [field]


@pytest.mark.parametrize(
    ("text", "data"),
    [("c0ffee", b"\xc0\xff\xee"), ("0xC0FFEE", b"\xc0\xff\xee"), ("0X", b""), ("", b""), ("  00 ", b"\0")],
)
def test_onchain_data_is_the_bytes_of_the_hex(text: str, data: bytes) -> None:
    assert InfernetInput(source=InfernetInputSource.CHAIN, data=text).onchain_data() == data


def test_an_odd_number_of_hex_digits_is_said_to_be_one() -> None:
    with pytest.raises(InvalidRequestError, match="data: 3 hex digits are no whole bytes"):
        InfernetInput(source=InfernetInputSource.CHAIN, data="c0f").onchain_data()


@pytest.mark.parametrize(
    ("source", "destination", "is_reply_for_chain"),
    [
        (0, None, True),
        (1, None, False),
        (0, 0, True),
        (1, 0, True),
        (0, 1, False),
        (1, 1, False),
        (1, 2, False),
    ],
)
def test_a_reply_goes_on_chain_where_its_destination_says_so_or_an_old_nodes_source(
    source: int, destination: int | None, is_reply_for_chain: bool
) -> None:
    payload = {"source": source, "destination": destination, "data": "00"}

    assert InfernetInput.model_validate(payload).is_reply_for_chain is is_reply_for_chain


@pytest.mark.parametrize("output", ["a text", {"any": ["object"]}, [1, 2.5], ""])
def test_another_containers_output_is_taken_as_it_is(output: Any) -> None:
    assert InfernetInput(source=InfernetInputSource.OFFCHAIN, data=output).data == output


def test_a_text_alone_is_a_message_of_nobodys() -> None:
    request = validated(LLMRequest, "hello", under="data")

    assert (request.text, request.key, request.messageId, request.history) == ("hello", "", "", [])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"text": None}, "data.text"),
        ({"messageId": 5}, "data.messageId"),
        ({"history": [{"bot": 1}]}, "data.history.0.bot"),
        ({"history": ["hello"]}, "data.history.0"),
        ({"history": None}, "data.history"),
        ({"parameters": {"temperature": -1}}, "data.parameters.temperature"),
        ({"parameters": {"max_tokens": 0}}, "data.parameters.max_tokens"),
        ({"parameters": {"max_token": 5}}, "data.parameters.max_token"),
        ({"parameters": {"stop": [""]}}, "data.parameters.stop.0"),
        ({"parameters": {"top_p": 0}}, "data.parameters.top_p"),
    ],
)
def test_each_wrong_field_of_an_llm_request_is_named(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        validated(LLMRequest, SEED_DATA | change, under="data")

    assert caught.value.problems[0].field == path


def test_history_may_hold_nulls_and_several_speakers_a_turn() -> None:
    history = [{"bot": "hi", "player": "hello"}, None, {"player": "buy?"}]

    assert validated(LLMRequest, SEED_DATA | {"history": history}).history == history


def test_the_problems_of_one_request_are_bounded_and_hold_no_value() -> None:
    parameters = {f"unknown-{i}": "secret" for i in range(100)}

    with pytest.raises(InvalidRequestError) as caught:
        validated(LLMRequest, SEED_DATA | {"parameters": parameters}, under="data")

    assert len(caught.value.problems) == MAX_PROBLEMS
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"history": ["bad"] * 1000},
        {"history": [dict.fromkeys(map(str, range(1000)), 1)]},
        {"parameters": {"stop": [1] * 1000}},
        {"parameters": {"constraint": {"choices": [1] * 1000}}},
    ],
    ids=["turns", "speakers", "stop", "choices"],
)
def test_a_list_is_read_no_further_than_its_first_wrong_item(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        LLMRequest.model_validate(SEED_DATA | change)

    assert caught.value.error_count() <= 2


class Either(BaseModel):
    """Has a field of several types."""

    value: dict[str, int] | list[int]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        return {"value": data} if isinstance(data, list) else data


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"value": "x"}, {"value"}),
        ({"value": {"a": "x"}}, {"value.a", "value"}),
        ({"value": [1, "x"]}, {"value.1", "value"}),
        ({}, {"value"}),
    ],
)
def test_a_field_is_named_without_the_types_that_it_may_have(value: Any, fields: set[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        validated(Either, value)

    assert {problem.field for problem in caught.value.problems} == fields


def test_a_field_that_the_caller_need_not_name_is_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        validated(Either, [1, "x"], under="data")

    assert all(problem.field.startswith("data.value") for problem in caught.value.problems)
