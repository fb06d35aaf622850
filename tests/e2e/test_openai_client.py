"""The official ``openai`` client, as it is, against a real service."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.service_process import ServiceProcess, service

TOKEN = "a-token-of-the-test"
QUESTION = "What is the capital of France? Answer with one word."


@pytest.fixture(scope="module")
def running(smollm2_folder: Path) -> Iterator[ServiceProcess]:
    with service(
        LLM_MODEL=str(smollm2_folder),
        LLM_AUTH_TOKENS=TOKEN,
        LLM_MAX_RUNNING_SEQUENCES="1",
        LLM_PREFIX_CACHE_MIB="0",  # for what is rounded alike each time
    ) as started:
        yield started


@pytest.fixture(scope="module")
def client(running: ServiceProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{running.url}/v1", api_key=TOKEN, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def scripted() -> Iterator[OpenAI]:
    with (
        service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.01") as started,
        OpenAI(base_url=f"{started.url}/v1", api_key="any", max_retries=0, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def model(client: OpenAI) -> str:
    (listed,) = client.models.list().data
    assert client.models.retrieve(listed.id) == listed
    return listed.id


def test_a_question_is_answered_whole_and_as_a_stream(client: OpenAI, model: str) -> None:
    whole = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=8
    )
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    assert "Paris" in str(whole.choices[0].message.content)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 8
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == [whole.choices[0].finish_reason]


def test_sampled_answers_repeat_by_their_seed_and_differ_among_themselves(client: OpenAI, model: str) -> None:
    def texts(seed: int) -> list[str | None]:
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Tell me a story."}],
            n=3,
            seed=seed,
            temperature=1.2,
            max_tokens=12,
        )
        return [choice.message.content for choice in completion.choices]

    first = texts(1)

    assert texts(1) == first
    assert len(set(first)) == 3


def test_a_stop_sequence_ends_the_answer(client: OpenAI, model: str) -> None:
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=20,
        stop=["aris"],
    )

    assert completion.choices[0].finish_reason == "stop"
    assert str(completion.choices[0].message.content).endswith("P")


def test_embeddings_are_the_same_in_both_encodings(client: OpenAI, model: str) -> None:
    texts = ["The price doubled.", "The meeting is at noon."]
    plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
    default = client.embeddings.create(model=model, input=texts)  # the client asks for base64

    for one, other in zip(plain.data, default.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-5)
        assert len(one.embedding) == 576
    assert plain.data[0].embedding != plain.data[1].embedding
    assert plain.usage.prompt_tokens > 4


def test_each_refusal_is_the_exception_that_the_client_knows(client: OpenAI, model: str) -> None:
    create = client.chat.completions.create

    def said(text: str) -> list[ChatCompletionMessageParam]:
        return [{"role": "user", "content": text}]

    with pytest.raises(openai.NotFoundError) as missing:
        create(model="gpt-4", messages=said("hello"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
        create(model=model, messages=said("hello"), temperature=99)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        create(model=model, messages=said("word " * 9000))
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong-token").models.list()
    with pytest.raises(openai.APIStatusError) as unknown:
        client.post("/nothing", cast_to=object)
    assert unknown.value.status_code == 404


def test_a_client_that_leaves_in_the_middle_frees_its_place(
    running: ServiceProcess, client: OpenAI, model: str
) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Tell me a very long story."}],
        max_tokens=3000,
        extra_body={"ignore_eos": True},
        stream=True,
    )
    next(iter(stream))
    stream.close()
    left_s = time.monotonic()
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2
    )

    assert answer.usage is not None
    assert time.monotonic() - left_s < 5  # the one slot is free
    assert all(line["status"] in {200, 400, 401, 404} for line in running.log_lines("request"))
    assert running.log_lines("request failed") == []


def test_completions_whole_streamed_and_with_log_probabilities(scripted: OpenAI) -> None:
    whole = scripted.completions.create(model="scripted", prompt=["to be", "or not"], n=2, logprobs=2)
    stream = scripted.completions.create(model="scripted", prompt="to be or", stream=True)

    assert [choice.text for choice in whole.choices] == ["to be", "to be", "or not", "or not"]
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.tokens == ["to", " be"]
    assert "".join(chunk.choices[0].text for chunk in stream) == "to be or"


def test_log_probabilities_of_a_streamed_conversation(scripted: OpenAI) -> None:
    stream = scripted.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "to be or"}],
        logprobs=True,
        top_logprobs=3,
        stream=True,
    )
    logprobs = [choice.logprobs for chunk in stream for choice in chunk.choices if choice.logprobs]
    tokens = [token for part in logprobs for token in part.content or []]

    assert [token.token for token in tokens] == ["to", " be", " or"]
    assert all(len(token.top_logprobs) == 3 for token in tokens)


def test_a_service_that_has_too_much_to_do_is_a_rate_limit_that_the_client_waits_for() -> None:
    with (
        service(
            LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.3", LLM_MAX_CONCURRENT_REQUESTS="1"
        ) as started,
        OpenAI(base_url=f"{started.url}/v1", api_key="any", max_retries=0) as client,
        client.completions.create(model="scripted", prompt="a b c d", stream=True) as stream,
    ):
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as refused:
            client.completions.create(model="scripted", prompt="a")
        assert refused.value.response.headers["retry-after"] == "1"
        patient = client.with_options(max_retries=3).completions.create(model="scripted", prompt="a")
        assert patient.choices[0].text == "a"


def test_what_the_backend_lacks_is_refused_rather_than_ignored(scripted: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        scripted.chat.completions.create(
            model="scripted",
            messages=[{"role": "user", "content": "x"}],
            response_format={"type": "json_object"},
        )

    assert refused.value.status_code == 501
    assert json.loads(refused.value.response.text)["error"]["code"] == "not_supported"


def test_what_would_fail_again_is_not_sent_again() -> None:
    with (
        service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="5", LLM_REQUEST_TIMEOUT_S="0.2") as started,
        OpenAI(base_url=f"{started.url}/v1", api_key="any", max_retries=2) as client,
    ):
        with pytest.raises(openai.InternalServerError) as late:
            client.completions.create(model="scripted", prompt="a")
        with pytest.raises(openai.InternalServerError) as lacking:
            client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "x"}],
                response_format={"type": "json_object"},
            )

    requests = started.log_lines("request")
    assert (late.value.status_code, lacking.value.status_code) == (504, 501)
    assert [line["status"] for line in requests] == [504, 501]
