"""llguidance's matcher within bounds; the same where a grammar is tried and where it is followed.

The library bounds most of what a grammar costs, a step at a time. What it does not bound (a deep chain of
rules overflows the stack, some regular expressions compile for minutes) is found out by ``ConstraintTrial``.
"""

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

LIMITS = LLParserLimits(
    initial_lexer_fuel=200_000,
    step_lexer_fuel=50_000,
    step_max_items=5_000,
    max_items_in_row=500,
    max_lexer_states=20_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)
"""A step that exhausts them takes some 20 ms, a matcher some 20 MB; an object of 100 optional fields fits."""


class GrammarError(Exception):
    """The library refuses a grammar, in words that may quote it."""


def read_tokenizer(tokenizer_json: str, vocab_size: int, eos_token_ids: list[int]) -> LLTokenizer:
    """Read a ``tokenizer.json``; takes some 0.3 s.

    Raises:
        ValueError: it is not of a kind that the library knows.
    """
    return LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=eos_token_ids)


def new_matcher(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    """Compile a grammar, given as llguidance's JSON, up to its first mask.

    Raises:
        GrammarError: the library refuses it.
    """
    # its warnings, switched off, would quote the caller on standard error
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    if not matcher.is_error():
        matcher.compute_ff_tokens()
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise GrammarError(matcher.get_error())
    return matcher
