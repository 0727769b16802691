"""The program that `compiling` asks: one grammar a line, as JSON, and what is wrong with it a line. Run, never imported.

It is a process of its own because llguidance cannot be interrupted, and because a grammar can make it overflow its stack. The limit
is on computing time, so that a busy machine refuses nothing that an idle one takes.
"""

import json
import signal
import sys
import threading

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

SECONDS = 1.0
"""Computing time for one grammar; then the system ends this process."""
STACK_BYTES = 4 * 2**20
"""Half of what the threads of engines have."""


class _Bytes:
    """Every byte a token, and one that ends the text."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def main() -> None:
    """Answer until the input ends."""
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()))
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answer = json.dumps(problem(json.loads(line), tokenizer))
        sys.stdout.buffer.write(answer.encode() + b"\n")
        sys.stdout.buffer.flush()


def problem(source: str, tokenizer: LLTokenizer) -> str | None:
    """Why llguidance cannot use `source`; None where it can. It is compiled as an engine will do it, and its first mask is made."""
    failed, notes = LLMatcher.validate_grammar_with_warnings(source)
    if failed or notes:
        return notes[0]
    matcher = LLMatcher(tokenizer, source, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error() if matcher.is_error() else None


if __name__ == "__main__":
    threading.stack_size(STACK_BYTES)
    worker = threading.Thread(target=main)
    worker.start()
    worker.join()
