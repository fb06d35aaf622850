"""Codecs: the ``ChainCodec`` port for the types that services of this family use.

===============  ====================================================  ===================================
codec            reads                                                 writes
===============  ====================================================  ===================================
``text``         ``(string)``                                          ``(string)``
``messages``     ``(uint8 provider, uint8 endpoint, string model,      ``(string)``
                 (string role, string content)[] messages)``
``tensor``       ``(bytes modelId, bytes vector)``, a RitualVector     a RitualVector
``agent_reply``  ``(uint48 messageId, address key, string text)``      ``(string rationale, bytes vectors)``
``summarizer``   ``(int256[] averaged)``                               ``(uint8 action)``
``abi``          what the settings say                                 what the settings say
===============  ====================================================  ===================================
"""

import importlib
from collections.abc import Callable
from typing import Any

from eth_hash.auto import keccak

from adapters.infernet import abi
from adapters.infernet.abi_types import AbiType, parse_types, values_from_json, values_to_json
from adapters.infernet.reply_fields import field_of, proof_of
from adapters.infernet.tensor_codec import TensorCodec
from domain.chain import ChainFormat, ChainLayout, ChainReply
from domain.conversation import conversation_of
from domain.errors import ConfigurationError, EncodingError, FieldProblem, InvalidRequestError
from domain.fixed_point import DECIMALS, decimals_from_real
from domain.ports import ChainCodec
from domain.requests import LLMRequest, RequestData
from domain.validation import validated

COMPLETIONS = 0
"""Of the endpoints that a messages request may name, the one that is served."""
ROLES = frozenset({"system", "user", "assistant"})
MAX_MESSAGE_ID = 2**48 - 1
ADDRESS_BYTES = 20
INT256_BYTES = 32


def build_codec(declared: ChainFormat) -> ChainCodec:
    """Build the codec that a workflow or the settings name.

    Raises:
        ConfigurationError: there is none of this name, or its options do not fit.
    """
    if declared.codec != "tensor" and (declared.dtype is not None or declared.decimals is not None):
        raise ConfigurationError("dtype and decimals are options of the codec tensor")
    if declared.codec == "abi":
        return AbiCodec(declared.input or "()", declared.output or "(string)", declared.layout)
    if declared.input is not None or declared.output is not None:
        raise ConfigurationError("input and output are options of the codec abi")
    if declared.codec == "tensor":
        return TensorCodec(declared.dtype, declared.decimals)
    built_in = BUILT_IN.get(declared.codec)
    return built_in(declared.layout) if built_in is not None else _own_codec(declared.codec, declared.layout)


def _own_codec(path: str, layout: ChainLayout) -> ChainCodec:
    module_name, _, class_name = path.rpartition(".")
    if not module_name:
        raise ConfigurationError(f"there is no codec {path!r}; there are abi, tensor, {', '.join(BUILT_IN)}")
    try:
        codec = getattr(importlib.import_module(module_name), class_name)(layout)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"the codec {path} cannot be made: {reason}") from error
    if not isinstance(codec, ChainCodec):
        raise ConfigurationError(f"{path} is no codec: it needs the methods decode, check_input and encode")
    return codec


class AbiCodec:
    """Types by name: what is read becomes JSON, and the reply's fields are written.

    Args:
        reads: types of the input, see ``abi_types``.
        writes: types of the output.
        layout: ``wrapped`` where the output is one or two texts or byte strings.
    """

    def __init__(self, reads: str, writes: str, layout: ChainLayout) -> None:
        self._reads = parse_types(reads)
        self._writes = parse_types(writes)
        self._layout = layout
        if layout is ChainLayout.WRAPPED and not abi.fits_wrapping(_canonical(self._writes)):
            raise ConfigurationError(f"{writes} does not fit a node's wrapping: at most two string or bytes")

    def decode(self, data: bytes) -> RequestData:
        values = abi.decode(_canonical(self._reads), data)
        decoded: RequestData = values_to_json(self._reads, values)
        return decoded

    def check_input(self, data: RequestData) -> None:
        self._input(data)

    def encode(self, reply: str | dict[str, Any], data: RequestData, raw_input: bytes | None) -> ChainReply:
        raw_output, processed_output = abi.laid_out(
            self._layout, _canonical(self._writes), self._values(reply)
        )
        return ChainReply(
            raw_input=self._input(data) if raw_input is None else raw_input,
            raw_output=raw_output,
            processed_output=processed_output,
            proof=proof_of(reply),
        )

    def _values(self, reply: Any) -> list[Any]:
        try:
            return values_from_json(self._writes, reply)
        except ValueError as error:
            raise EncodingError(f"the workflow's reply {error}") from error

    def _input(self, data: RequestData) -> bytes:
        is_text = [part.canonical for part in self._reads] == ["string"] and not self._reads[0].name
        given = data.get("text") if is_text and isinstance(data, dict) else data
        try:
            return abi.encode_data(_canonical(self._reads), values_from_json(self._reads, given))
        except ValueError as error:
            raise InvalidRequestError(FieldProblem("data", str(error))) from error


class MessagesCodec:
    """A conversation for completion; provider and model are the service's own, whatever is named."""

    TYPES = ("uint8", "uint8", "string", "(string,string)[]")

    def __init__(self, layout: ChainLayout) -> None:
        self._layout = layout

    def decode(self, data: bytes) -> RequestData:
        _, endpoint, _, messages = abi.decode(self.TYPES, data)
        if endpoint != COMPLETIONS:
            raise InvalidRequestError(
                FieldProblem("data.endpoint", f"{endpoint} is not offered; 0 (completions) is")
            )
        for index, (role, _) in enumerate(messages):
            if role not in ROLES:
                problem = f"should be one of {', '.join(sorted(ROLES))}"
                raise InvalidRequestError(FieldProblem(f"data.messages.{index}.role", problem))
        if not messages or messages[-1][0] != "user":
            raise InvalidRequestError(FieldProblem("data.messages", "should end with a user's message"))
        history = [{role: content} for role, content in messages[:-1]]
        return {"key": "", "messageId": "", "text": messages[-1][1], "history": history}

    def check_input(self, data: RequestData) -> None:
        self._input(data)

    def encode(self, reply: str | dict[str, Any], data: RequestData, raw_input: bytes | None) -> ChainReply:
        if not isinstance(reply, str):
            raise EncodingError("the codec messages writes a text, and the workflow replied with an object")
        raw_output, processed_output = abi.laid_out(self._layout, ["string"], [reply])
        return ChainReply(
            raw_input=self._input(data) if raw_input is None else raw_input,
            raw_output=raw_output,
            processed_output=processed_output,
        )

    def _input(self, data: RequestData) -> bytes:
        messages = conversation_of(validated(LLMRequest, data, under="data"))
        pairs = [(message.role, message.content) for message in messages]
        return abi.encode_data(self.TYPES, (0, COMPLETIONS, "", pairs))


class AgentReplyCodec:
    """An agent's reply to a message: its rationale, and its vector in 1e18 for the consumer to average.

    An agent that gives no rationale gives an empty one.

    The input that is reported is ``(bytes32 hashed, uint48 messageId, address key)``, where ``hashed`` is the
    Keccak hash of the vectors.
    """

    READS = ("uint48", "address", "string")
    REPORTS = ("bytes32", "uint48", "address")
    WRITES = ("string", "bytes")

    def __init__(self, layout: ChainLayout) -> None:
        self._layout = layout

    def decode(self, data: bytes) -> RequestData:
        message_id, key, text = abi.decode(self.READS, data)
        return {"key": key, "messageId": str(message_id), "text": text, "history": []}

    def check_input(self, data: RequestData) -> None:
        self._sender(data)

    def encode(self, reply: str | dict[str, Any], data: RequestData, raw_input: bytes | None) -> ChainReply:  # noqa: ARG002 - reported otherwise
        reals = _numbers(field_of(reply, "vector"))
        if reals is None:
            raise EncodingError("the field vector of the workflow's reply is no list of numbers")
        vectors = abi.encode(["int256[]"], [[decimals_from_real(real, DECIMALS) for real in reals]])
        reported = (keccak(vectors), *self._sender(data))
        rationale = str(reply.get("rationale", "")) if isinstance(reply, dict) else ""
        raw_output, processed_output = abi.laid_out(self._layout, self.WRITES, [rationale, vectors])
        return ChainReply(
            raw_input=abi.encode_data(self.REPORTS, reported),
            raw_output=raw_output,
            processed_output=processed_output,
            proof=proof_of(reply),
        )

    def _sender(self, data: RequestData) -> tuple[int, str]:
        request = validated(LLMRequest, data, under="data")
        return _message_id(request.messageId), _address(request.key)


class SummarizerCodec:
    """A proven action on an averaged vector.

    The input that is reported is ``(bytes rawInputVector, uint256 poseidonHash)``; the hash is 0 where the
    circuit's inputs are public. The proof is the whole calldata of ``verifyProof``. Under a node's wrapping
    vector and hash come apart, as ``raw_input`` and ``processed_input``.
    """

    READS = ("int256[]",)
    REPORTS = ("bytes", "uint256")
    WRITES = ("uint8",)

    def __init__(self, layout: ChainLayout) -> None:
        self._layout = layout

    def decode(self, data: bytes) -> RequestData:
        (vector,) = abi.decode(self.READS, data)
        return {"vector": list(vector)}

    def check_input(self, data: RequestData) -> None:
        self._input(data)

    def encode(self, reply: str | dict[str, Any], data: RequestData, raw_input: bytes | None) -> ChainReply:
        raw_input = self._input(data) if raw_input is None else raw_input
        index = field_of(reply, "action_index")
        values = field_of(field_of(reply, "proof"), "values")
        hashes = values.get("input_hash", ["0x0"])
        poseidon_hash = int(hashes[0], 16)
        if self._layout is ChainLayout.EXACT:
            reported, processed_input = abi.encode(self.REPORTS, (raw_input, poseidon_hash)), b""
        else:
            reported, processed_input = raw_input, poseidon_hash.to_bytes(INT256_BYTES, "big")
        return ChainReply(
            raw_input=reported,
            processed_input=processed_input,
            raw_output=abi.encode(self.WRITES, (index,)),
            proof=proof_of(reply),
        )

    def _input(self, data: RequestData) -> bytes:
        vector = data.get("vector") if isinstance(data, dict) else data
        return abi.encode_data(self.READS, (vector,))


def _text_codec(layout: ChainLayout) -> ChainCodec:
    return AbiCodec("(string)", "(string)", layout)


BUILT_IN: dict[str, Callable[[ChainLayout], ChainCodec]] = {
    "text": _text_codec,
    "messages": MessagesCodec,
    "agent_reply": AgentReplyCodec,
    "summarizer": SummarizerCodec,
}


def _canonical(types: tuple[AbiType, ...]) -> list[str]:
    return [part.canonical for part in types]


def _numbers(values: Any) -> list[int | float] | None:
    is_list = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    return values if is_list else None


def _message_id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_MESSAGE_ID)):
        number = int(text)
        if number <= MAX_MESSAGE_ID:
            return number
    raise InvalidRequestError(
        FieldProblem("data.messageId", "should be a whole number below 2**48, for a reply on chain")
    )


def _address(text: str) -> str:
    digits = text.removeprefix("0x")
    try:
        if len(bytes.fromhex(digits)) == ADDRESS_BYTES and len(digits) == 2 * ADDRESS_BYTES:
            return f"0x{digits.lower()}"
    except ValueError:
        pass
    raise InvalidRequestError(
        FieldProblem("data.key", "should be an address of 20 bytes in hex, for a reply on chain")
    )
