"""Constraints on the default model's tokenizer: whatever is sampled, the text has the declared form.

The sampler here takes random logits, so an answer is as odd as its constraint lets it be.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adapters.onnx.constraint import ConstraintCompiler, TokenConstraint
from adapters.onnx.constraint_trial import ConstraintTrial
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.token_mask import mask_rows
from adapters.onnx.tokenizer import Tokenizer
from domain.constraints import OutputConstraint
from domain.errors import BackendError, InvalidRequestError, NotSupportedError, UnavailableError

MAX_TOKENS = 1000


class Sampler:
    """Continues an answer as the engine does, on random logits."""

    def __init__(self, folder: Path, compiler: ConstraintCompiler) -> None:
        model = read_model_folder(folder)
        self.tokenizer = Tokenizer(folder)
        self.compiler = compiler
        self.vocab_size = model.vocab_size
        self.eos_token_ids = model.eos_token_ids

    def answer(self, constraint: OutputConstraint, seed: int, *, is_greedy: bool = False) -> str | None:
        """Return the text of an answer; None where it was not complete after ``MAX_TOKENS``."""
        random = np.random.default_rng(seed)
        followed = self.compiler.compile(constraint)
        token_ids: list[int] = []
        while len(token_ids) < MAX_TOKENS:
            forced = followed.forced()
            followed.accept(forced)
            token_ids += forced
            if followed.is_complete:
                break
            logits = random.normal(0, 3, (1, self.vocab_size)).astype(np.float32)
            mask_rows(logits, [followed], [is_greedy])
            token_id = int(logits.argmax())
            followed.accept([token_id])
            if token_id in self.eos_token_ids:
                break
            token_ids.append(token_id)
        else:
            return None
        detokenizer = self.tokenizer.detokenizer()
        return "".join(map(detokenizer.step, token_ids))

    def may_end(self, constraint: TokenConstraint) -> bool:
        """Return whether the answer may end here."""
        return any(map(constraint.allows, self.eos_token_ids))

    def allowed(self, constraint: TokenConstraint) -> set[str]:
        """Return the tokens that may come next."""
        logits = np.zeros((1, self.vocab_size), np.float32)
        mask_rows(logits, [constraint], [False])
        return {self.tokenizer.detokenizer().step(int(i)) for i in np.flatnonzero(np.isfinite(logits[0]))}


@pytest.fixture(scope="module")
def sampler(smollm2_folder: Path) -> Iterator[Sampler]:
    model = read_model_folder(smollm2_folder)
    compiler = ConstraintCompiler(Tokenizer(smollm2_folder), model.eos_token_ids, model.vocab_size)
    yield Sampler(smollm2_folder, compiler)
    compiler.close()


def bounded_schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Return schemas whose instances end, whatever is chosen."""
    names = st.text('abcdé_ "\\', min_size=1, max_size=6)
    exact = st.integers(-(2**53), 2**53)  # larger ones are refused in an enum
    scalars = st.one_of(
        st.integers(-1000, 1000).map(lambda n: {"type": "integer", "minimum": n, "maximum": n + 5000}),
        st.integers(0, 10).map(lambda n: {"type": "string", "maxLength": n}),
        st.just({"type": "string", "pattern": "^[a-f]{2,5}$"}),
        st.just({"type": ["boolean", "null"]}),
        st.lists(st.one_of(names, exact, st.none()), min_size=1).map(lambda v: {"enum": v}),
        names.map(lambda text: {"const": {"said": text}}),
    )  # fmt: skip

    def compound(parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        arrays = st.builds(
            lambda items, least, more: {
                "type": "array",
                "items": items,
                "minItems": least,
                "maxItems": least + more,
            },
            parts,
            st.integers(0, 2),
            st.integers(0, 2),
        )
        objects = st.dictionaries(names, parts, max_size=4).flatmap(
            lambda properties: (
                st.lists(st.sampled_from(sorted(properties)), unique=True).map(
                    lambda required: {
                        "type": "object",
                        "properties": properties,
                        "required": required,
                        "additionalProperties": False,
                    }
                )
                if properties
                else st.just({"type": "object", "additionalProperties": False})
            )
        )
        return st.one_of(arrays, objects, st.lists(parts, min_size=1, max_size=3).map(lambda p: {"anyOf": p}))

    return st.recursive(scalars, compound, max_leaves=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(schema=bounded_schemas(), seed=st.integers(0, 2**32))
@example(schema={"type": "integer", "minimum": 2**53 + 1, "maximum": 2**53 + 3}, seed=0)
@example(schema={"type": "integer", "exclusiveMinimum": -(2**53) - 9, "maximum": -(2**53) - 1}, seed=0)
def test_json_of_a_bounded_schema_is_valid_and_ends(
    sampler: Sampler, schema: dict[str, Any], seed: int
) -> None:
    text = sampler.answer(OutputConstraint(json_schema=schema), seed)

    assert text is not None
    jsonschema.validate(json.loads(text), schema)


def test_json_has_no_white_space_of_its_own(sampler: Sampler) -> None:
    point = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 9},
        "minItems": 2,
        "maxItems": 3,
    }
    schema = {"type": "object", "properties": {"p": point, "q": point}, "required": ["p", "q"]}  # fmt: skip

    texts = [
        sampler.answer(OutputConstraint(json_schema={**schema, "additionalProperties": False}), seed)
        for seed in range(10)
    ]

    assert all(text == json.dumps(json.loads(text or ""), separators=(",", ":")) for text in texts)


@pytest.mark.parametrize(
    "regex",
    [
        r"[A-Z][a-z]{2,10}( [a-z]{1,10}){1,8}\.",
        r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2})?",
        r"(yes|no)( / (yes|no)){0,3}",
        r"[^\n]{1,40}",
        r"(é|日本|😀){2,5}\\",
        r"(?i)answer: .{3,9}/",
        "^a\nb{2}$",
    ],
)
def test_a_regular_expression_matches_the_whole_answer(sampler: Sampler, regex: str) -> None:
    for seed in range(8):
        text = sampler.answer(OutputConstraint(regex=regex), seed)

        assert text is not None
        assert re.fullmatch(regex, text)


def test_a_choice_is_one_of_the_texts(sampler: Sampler) -> None:
    choices = ("buy", "buy more", 'sell "all"', "\\", "é😀", " leading", "a\nb", *map(str, range(100)))

    texts = {sampler.answer(OutputConstraint(choices=choices), seed) for seed in range(30)}

    assert len(texts) > 5
    assert texts <= set(choices)


def test_an_answer_is_a_sentence_of_a_grammar(sampler: Sampler) -> None:
    grammar = """
        start: term (("+" | "-") term){0,3}
        term: NUMBER | "(" NUMBER "*" NUMBER ")"
        NUMBER: /[0-9]{1,4}/
    """

    for seed in range(10):
        text = sampler.answer(OutputConstraint(grammar=grammar), seed)

        term = r"(\d{1,4}|\(\d{1,4}\*\d{1,4}\))"
        assert text is not None
        assert re.fullmatch(rf"{term}([+-]{term}){{0,3}}", text)


def test_what_is_forced_is_not_sampled_and_tokenised_as_the_model_has_it(sampler: Sampler) -> None:
    constraint = sampler.compiler.compile(OutputConstraint(regex="The answer is (yes|no)"))

    forced = constraint.forced()

    assert forced == sampler.tokenizer.encode("The answer is")
    constraint.accept(forced)
    assert {" yes", " no"} <= sampler.allowed(constraint) <= {" ", " y", " ye", " yes", " n", " no"}


def test_an_answer_that_may_go_on_may_also_end(sampler: Sampler) -> None:
    constraint = sampler.compiler.compile(OutputConstraint(choices=("buy", "buy more")))
    assert not sampler.may_end(constraint)

    constraint.accept(sampler.tokenizer.encode("buy"))

    assert sampler.may_end(constraint)
    assert not constraint.is_complete
    logits = np.zeros((1, sampler.vocab_size), np.float32)
    mask_rows(logits, [constraint], [False])
    assert set(np.flatnonzero(np.isfinite(logits[0]))) > sampler.eos_token_ids
    constraint.accept(sampler.tokenizer.encode(" more"))
    assert constraint.is_complete


def test_the_end_is_accepted_where_the_answer_may_end(sampler: Sampler) -> None:
    constraint = sampler.compiler.compile(OutputConstraint(regex="a*"))

    constraint.accept([*sampler.tokenizer.encode("aa"), *sampler.eos_token_ids])

    assert constraint.is_complete


def test_a_form_that_breaks_while_it_is_followed_is_no_end_of_the_answer(sampler: Sampler) -> None:
    # 2^60 states: no step can tell what may come next
    with pytest.raises(InvalidRequestError, match=r"constraint\.regex: is too complex"):
        sampler.answer(OutputConstraint(regex="<[^>]*a[^>]{60}b>"), seed=0)


def test_rows_without_a_constraint_are_left_alone(sampler: Sampler) -> None:
    logits = np.random.default_rng(1).normal(size=(3, sampler.vocab_size)).astype(np.float32)
    before = logits.copy()
    constraint = sampler.compiler.compile(OutputConstraint(choices=("a", "b")))

    mask_rows(logits, [None, constraint, None], [False] * 3)

    np.testing.assert_array_equal(logits[[0, 2]], before[[0, 2]])
    kept = np.isfinite(logits[1])
    assert kept.sum() == 2
    np.testing.assert_array_equal(logits[1, kept], before[1, kept])


def test_a_greedy_row_gives_the_same_answer_with_less_work(sampler: Sampler) -> None:
    sentence = OutputConstraint(regex=r"[A-Z][a-z]{2,10}( [a-z]{1,10}){1,8}\.")

    for form in (sentence, PERSON):
        for seed in range(5):
            assert sampler.answer(form, seed, is_greedy=True) == sampler.answer(form, seed)


def test_a_greedy_row_whose_likeliest_token_may_come_is_left_alone(sampler: Sampler) -> None:
    constraint = sampler.compiler.compile(OutputConstraint(choices=("a", "b")))
    logits = np.random.default_rng(1).normal(size=(2, sampler.vocab_size)).astype(np.float32)
    logits[0, sampler.tokenizer.encode("a")] = 9
    logits[1, sampler.tokenizer.encode("c")] = 9
    before = logits.copy()

    mask_rows(logits, [constraint, constraint], [True, True])

    np.testing.assert_array_equal(logits[0], before[0])
    assert np.isfinite(logits[1]).sum() == 2


NUMBER = OutputConstraint(regex=r"-?[0-9]{1,4}(\.[0-9]{2})?")
PERSON = OutputConstraint(
    json_schema={
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": False,
    }
)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        *((NUMBER, said) for said in ("", "-", "1", "12.5", "1234")),
        *((PERSON, said) for said in ("", '{"name":', '{"name":"Bo', '{"name":"Bo"', '{"name":"Bo","age":4')),
    ],
)
def test_one_token_is_allowed_where_the_mask_has_it(
    sampler: Sampler, form: OutputConstraint, said: str
) -> None:
    constraint = sampler.compiler.compile(form)
    constraint.accept(sampler.tokenizer.encode(said))
    constraint.accept(constraint.forced())
    logits = np.zeros((1, sampler.vocab_size), np.float32)
    mask_rows(logits, [constraint], [False])

    kept = np.isfinite(logits[0])
    token_ids = [*np.flatnonzero(kept)[:500], *range(0, sampler.vocab_size, 16)]
    allowed = [constraint.allows(int(token_id)) for token_id in token_ids]

    assert any(allowed)
    np.testing.assert_array_equal(allowed, kept[token_ids])


def test_answers_of_one_form_do_not_touch_one_another(sampler: Sampler) -> None:
    form = OutputConstraint(regex="[ab]{3}")
    one, other = sampler.compiler.compile(form), sampler.compiler.compile(form)

    one.accept(sampler.tokenizer.encode("aba"))

    assert one.is_complete
    assert not sampler.may_end(other)


def test_a_token_that_was_not_allowed_is_an_error_of_ours(sampler: Sampler) -> None:
    constraint = sampler.compiler.compile(OutputConstraint(choices=("yes", "no")))

    with pytest.raises(BackendError, match="forbids"):
        constraint.accept(sampler.tokenizer.encode("maybe"))


def chain(length: int) -> str:
    rules = [f"a{number}: a{number + 1}" for number in range(length)]
    return "\n".join(["start: a0", *rules, f'a{length}: "x"'])


def doubling_terminals(length: int) -> str:
    rules = [f"A{number}: A{number + 1} A{number + 1}" for number in range(length)]
    return "\n".join(["start: A0", *rules, f'A{length}: "x"'])


def nested_arrays(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


REFERENCES = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(3500)}


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        # these overflow the stack
        (OutputConstraint(grammar=chain(4500)), "is too complex"),
        (
            OutputConstraint(json_schema={"$ref": "#/$defs/a0", "$defs": {**REFERENCES, "a3500": {}}}),
            "is too complex",
        ),
        # these compile for minutes
        (OutputConstraint(json_schema={"type": "integer", "multipleOf": 123_456_789}), "is too complex"),
        (OutputConstraint(grammar=doubling_terminals(2000)), "is too complex"),
        # these exhaust a limit of the library's
        (OutputConstraint(regex="(" * 3000 + "a" + ")" * 3000), "is nested too deeply"),
        (
            OutputConstraint(grammar="start: " + "(" * 9000 + '"a"' + ")" * 9000),
            "is nested too deeply (line 1, column 37)",
        ),
        (OutputConstraint(json_schema=nested_arrays(150)), "is nested too deeply"),
        (OutputConstraint(json_schema={"$ref": "#"}), "is fulfilled by no text"),
        (OutputConstraint(grammar="start: start"), "is fulfilled by no text"),
        # these are mistakes
        (OutputConstraint(json_schema={"type": "string", "pattern": "("}), "has a group that is not closed"),
        (OutputConstraint(json_schema={"type": "bool"}), "has a type that is not known"),
        (OutputConstraint(json_schema={"not": {}}), "has keywords that are not supported: not"),
        (OutputConstraint(json_schema={"$ref": "http://127.0.0.1:9/x"}), "refers to another document"),
        (OutputConstraint(regex="(?=a)b"), "has a look-around, which is not supported"),
        (OutputConstraint(regex=r"(a)\1"), "has a backreference, which is not supported"),
        (OutputConstraint(grammar='{"grammars": []}'), "cannot be compiled (line 1, column 1)"),
        (OutputConstraint(json_schema={"const": "\ud800"}), "cannot be compiled"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_cannot_be_followed_is_refused_soon(
    sampler: Sampler, constraint: OutputConstraint, reason: str
) -> None:
    (field,) = constraint.model_fields_set

    started_s = time.process_time()
    with pytest.raises(InvalidRequestError) as raised:
        sampler.compiler.compile(constraint)

    assert str(raised.value) == f"constraint.{field}: {reason}"
    assert time.process_time() - started_s < 2


def test_a_trial_that_something_else_killed_says_nothing_against_the_grammar(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = OutputConstraint(choices=("kept", "killed"))
    answer = ConstraintTrial._answer

    def killed(trial: ConstraintTrial, question: object) -> str | None:
        assert trial._process is not None
        trial._process.kill()
        return answer(trial, question)

    sampler.compiler.compile(OutputConstraint(regex="started"))
    with monkeypatch.context() as patch:
        patch.setattr(ConstraintTrial, "_answer", killed)
        with pytest.raises(BackendError, match="was killed"):
            sampler.compiler.compile(form)

    assert not sampler.compiler.compile(form).is_complete


def test_nothing_is_compiled_once_the_compiler_is_closed(smollm2_folder: Path) -> None:
    model = read_model_folder(smollm2_folder)
    compiler = ConstraintCompiler(Tokenizer(smollm2_folder), model.eos_token_ids, model.vocab_size)
    compiler.close()

    with pytest.raises(UnavailableError):
        compiler.compile(OutputConstraint(regex="a"))


@pytest.mark.parametrize(
    "constraint",
    [
        OutputConstraint(regex="|".join(f"w{number}x" for number in range(8000))),
        OutputConstraint(regex="(x+x+)+y"),
        OutputConstraint(regex="(.*)(.*)(.*)(.*)(.*)a{50}"),
        OutputConstraint(regex=".*?a.{1000}"),
        OutputConstraint(regex="(a?){30000}a{30000}"),
        OutputConstraint(regex="((a{1,1000}){1,1000}){1,1000}"),
        OutputConstraint(regex="[ab]*a[ab]{400}c"),
        OutputConstraint(regex=r"(\p{L}\p{N}*){1,5000}x"),
        OutputConstraint(grammar='start: start start | "a" | ""'),
        OutputConstraint(grammar='start: (a{1000}){1000}\na: ("b" | "c"){1000}'),
        OutputConstraint(json_schema={"type": "string", "maxLength": 10**9}),
        OutputConstraint(json_schema={"type": "array", "items": {"type": "array"}, "minItems": 10**6}),
        OutputConstraint(json_schema={"type": "object"}),
        OutputConstraint(json_schema={}),
    ],
    ids=lambda constraint: str(constraint)[:60],
)
def test_what_can_be_followed_costs_little_a_token(sampler: Sampler, constraint: OutputConstraint) -> None:
    followed = sampler.compiler.compile(constraint)
    random = np.random.default_rng(1)
    logits = np.empty((1, sampler.vocab_size), np.float32)
    started_s = time.thread_time()
    num_steps = 0
    # some exhaust a limit on the way, and are told so
    with suppress(InvalidRequestError):
        while num_steps < 300 and not followed.is_complete:
            num_steps += 1
            logits[:] = random.random(sampler.vocab_size, np.float32)
            logits[0, list(sampler.eos_token_ids)] = -1
            mask_rows(logits, [followed], [False])
            followed.accept([int(logits.argmax())])

    assert (time.thread_time() - started_s) / num_steps < 0.02


def test_a_constraint_that_becomes_too_complex_is_refused_on_the_way(sampler: Sampler) -> None:
    followed = sampler.compiler.compile(OutputConstraint(grammar='start: start start | "a" | ""'))

    with pytest.raises(InvalidRequestError, match=r"^constraint\.grammar: is too complex$"):
        followed.accept(sampler.tokenizer.encode("a") * 1000)

    with pytest.raises(InvalidRequestError):
        followed.accept(sorted(sampler.eos_token_ids))


def test_a_hostile_grammar_leaves_others_alone(sampler: Sampler) -> None:
    under_way = sampler.compiler.compile(OutputConstraint(choices=("yes", "no")))

    with pytest.raises(InvalidRequestError):
        sampler.compiler.compile(OutputConstraint(grammar=chain(4501)))

    assert sampler.allowed(under_way) == {"y", "ye", "yes", "n", "no"}
    assert sampler.answer(OutputConstraint(choices=("left", "right")), 1) in {"left", "right"}


def test_a_grammar_is_tried_once(sampler: Sampler) -> None:
    constraint = OutputConstraint(grammar=chain(4502))
    with pytest.raises(InvalidRequestError):
        sampler.compiler.compile(constraint)
    assert sampler.compiler._loaded is not None
    trial = sampler.compiler._loaded[1]
    assert trial._process is None, "the child that tried it is gone"

    with pytest.raises(InvalidRequestError, match="too complex"):
        sampler.compiler.compile(constraint)

    assert trial._process is None


def test_a_tokenizer_that_does_not_fit_the_model_is_not_supported(smollm2_folder: Path) -> None:
    compiler = ConstraintCompiler(Tokenizer(smollm2_folder), frozenset({2}), 100)

    with pytest.raises(NotSupportedError, match="tokenizer"):
        compiler.compile(OutputConstraint(regex="a"))
