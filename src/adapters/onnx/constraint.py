"""Keeps an answer to a declared form: which tokens may come next, and which must.

::

    OutputConstraint ─ grammar_of ─► Grammar ─ ConstraintCompiler ─► TokenConstraint (one answer's)

    each step:   token_mask.mask_rows(logits, …) ─► sample ─► accept([token]) ─► forced() ─► accept(forced)

The grammars are llguidance's, which works on the bytes of tokens; end-of-sequence tokens are allowed where
the text so far is complete.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLTokenizer

from adapters.onnx.constraint_grammar import TOO_COMPLEX, Grammar, grammar_of
from adapters.onnx.constraint_matcher import GrammarError, new_matcher, read_tokenizer
from adapters.onnx.constraint_trial import ConstraintTrial
from adapters.onnx.tokenizer import Tokenizer
from domain.constraints import OutputConstraint
from domain.errors import BackendError, NotSupportedError, UnavailableError

MAX_VERDICTS = 1024
"""Grammars whose trial is remembered."""


class TokenConstraint:
    """What one answer may still say. Used by one thread at a time.

    Args:
        matcher: its own; lexers are not shared, since the states that one answer adds count for all.
        grammar: what it was made from, for errors.
    """

    def __init__(self, matcher: LLMatcher, grammar: Grammar) -> None:
        self._matcher = matcher
        self._grammar = grammar

    def accept(self, token_ids: Sequence[int]) -> None:
        """Take the next tokens of the answer, sampled or forced; an end-of-sequence token too.

        Raises:
            InvalidRequestError: the constraint cannot be followed any further; the answer must end with this
                error, whatever was sampled.
            BackendError: a token is none that ``mask_rows`` and ``forced`` allow.
        """
        if not self._matcher.consume_tokens(list(token_ids)):
            complaint = self._matcher.get_error()
            if "doesn't satisfy the grammar" in complaint:
                raise BackendError("the answer went on with a token that its constraint forbids")
            raise self._grammar.refused(complaint)

    def forced(self) -> list[int]:
        """Return the tokens that must come next, which need no sampling; none where there is a choice.

        They are the model's own tokenisation of the text that is forced; the end of it may be left to
        sampling, where the text after it could change the tokens. They may be many: thousands. To be
        accepted when they are taken, all of them or the first few.
        """
        tokens: list[int] = self._matcher.compute_ff_tokens()
        return tokens

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow: the answer is finished, without an end-of-sequence token."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def allows(self, token_id: int) -> bool:
        """Whether this token may come next: as ``fill`` tells, at a fraction of its cost.

        Of a complete answer it says no, where ``fill`` has the end-of-sequence tokens left.
        """
        return bool(self._matcher.validate_tokens([token_id]))

    def fill(self, mask: npt.NDArray[np.uint8]) -> None:
        """Write which tokens may come next into ``uint8[n]``: token i into bit ``i % 8`` of byte ``i // 8``.

        ``n`` is a multiple of 4. Of a constraint that cannot be followed any further the mask leaves nothing
        but the end; ``accept`` then raises, whatever it is given.
        """
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)


class ConstraintCompiler:
    """Makes constraints for a model's tokenizer; safe to use from several threads.

    The first call loads the tokenizer, here and in a child process that tries each grammar before it is
    compiled here; that takes about a second.

    Args:
        tokenizer: the model's.
        eos_token_ids: one or more.
        vocab_size: entries of a row of logits.
    """

    def __init__(self, tokenizer: Tokenizer, eos_token_ids: frozenset[int], vocab_size: int) -> None:
        self._tokenizer_json = tokenizer.to_json
        self._vocab_size = vocab_size
        self._eos_token_ids = sorted(eos_token_ids)
        self._loaded: tuple[LLTokenizer, ConstraintTrial] | None = None
        self._verdicts: OrderedDict[bytes, str | None] = OrderedDict()
        self._is_closed = False
        self._lock = threading.Lock()

    def compile(self, constraint: OutputConstraint) -> TokenConstraint:
        """Return a constraint for one answer; takes a millisecond or two, seconds at the worst.

        Raises:
            InvalidRequestError: it is no constraint, or one that the service cannot follow; names the field,
                from ``constraint`` on.
            NotSupportedError: the model's tokenizer is not of a kind that can be constrained.
            UnavailableError: the compiler is closed.
            BackendError: the child process does not start, or was killed from outside.
        """
        grammar = grammar_of(constraint)
        tokenizer, trial = self._load()
        complaint = self._verdict(grammar, trial)
        if complaint is None:
            raise grammar.refused(TOO_COMPLEX)
        if complaint:
            raise grammar.refused(complaint)
        try:
            return TokenConstraint(new_matcher(tokenizer, grammar.text), grammar)
        except GrammarError as error:
            raise grammar.refused(str(error)) from None

    def close(self) -> None:
        """End the child process, and compile nothing any more."""
        with self._lock:
            self._is_closed = True
            if self._loaded is not None:
                self._loaded[1].close()
                self._loaded = None

    def _load(self) -> tuple[LLTokenizer, ConstraintTrial]:
        with self._lock:
            if self._is_closed:
                raise UnavailableError("the service is shutting down")
            if self._loaded is None:
                arguments = (self._tokenizer_json(), self._vocab_size, self._eos_token_ids)
                try:
                    self._loaded = read_tokenizer(*arguments), ConstraintTrial(*arguments)
                except ValueError as error:
                    raise NotSupportedError("the model's tokenizer cannot be constrained") from error
            return self._loaded

    def _verdict(self, grammar: Grammar, trial: ConstraintTrial) -> str | None:
        digest = hashlib.sha256(grammar.text.encode()).digest()
        with self._lock:
            if digest in self._verdicts:
                self._verdicts.move_to_end(digest)
                return self._verdicts[digest]
        complaint = trial.complaint(grammar.text)
        with self._lock:
            self._verdicts[digest] = complaint
            while len(self._verdicts) > MAX_VERDICTS:
                self._verdicts.popitem(last=False)
        return complaint
