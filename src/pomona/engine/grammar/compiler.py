"""Sources to matchers, away from the thread that steps the rows."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from llguidance import LLMatcher, LLParserLimits

from pomona.core.errors import InvalidRequest
from pomona.engine.grammar.lexicon import GrammarTokenizer, Lexicon

THREADS = 2
KEPT = 128
"""Compiled grammars. A schema of 2,400 properties takes 85 ms to compile; a copy of the result 20 us."""
LIMITS = LLParserLimits(max_lexer_states=100_000, verbose_errors=False)
"""A lexer state takes 1-2 kB. The others are llguidance's own: 20 ms for a lexer, 14 ms of lexing and 2.5 ms of parsing for a mask."""


class GrammarCompiler:
    """Compiles each source once and hands out copies. The tokenizer is made when the first grammar comes, in the same threads."""

    def __init__(self, read: Callable[[], Lexicon], vocabulary: int) -> None:
        self._read = read
        self._vocabulary = vocabulary
        self._tokenizer: GrammarTokenizer | None = None
        self._making = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="grammar")
        self._compiled: OrderedDict[str, Future[LLMatcher]] = OrderedDict()

    @property
    def end_id(self) -> int:
        """The bit of a mask that says that the grammar may end. Known once a grammar was compiled."""
        if self._tokenizer is None:
            raise RuntimeError("no grammar was compiled yet")
        return self._tokenizer.end_id

    def compile(self, source: str) -> "Future[LLMatcher]":
        """The matcher to copy for each row, some time. The future raises InvalidRequest, or what reading the tokenizer raises."""
        known = self._compiled.get(source)
        if known is None or (known.done() and known.exception() is not None):
            self._compiled[source] = known = self._pool.submit(self._compile, source)
        self._compiled.move_to_end(source)
        if len(self._compiled) > KEPT:
            self._compiled.popitem(last=False)
        return known

    def close(self) -> None:
        """End the threads; what nobody waits for any more is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _compile(self, source: str) -> LLMatcher:
        matcher = LLMatcher(self._ready_tokenizer().matching, source, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise InvalidRequest(f"The grammar cannot be used: {matcher.get_error()}. Mend or simplify it.")
        matcher.compute_bitmask()  # the first mask builds most of the lexer, which copies then have
        return matcher

    def _ready_tokenizer(self) -> GrammarTokenizer:
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = GrammarTokenizer(self._read(), self._vocabulary)
            return self._tokenizer
