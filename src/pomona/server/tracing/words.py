"""The words for what a request does: by name of a mark or a span, the phase that it belongs to and what people read."""

from collections.abc import Mapping
from typing import NamedTuple


class Word(NamedTuple):
    """A phase, and what it is in words that go on from '1.2 s of 3.4 s:'."""

    phase: str
    text: str


WORDS: Mapping[str, Word] = {
    "receive": Word("receive", "receiving the request's body"),
    "read": Word("receive", "reading and checking the request"),
    "before": Word("other", "earlier answers of the same request"),
    "control": Word("control", "limits and the place among all answers"),
    "load": Word("load", "waiting for the model to be in memory"),
    "place": Word("load", "waiting for the engine to be ready"),
    "joined": Word("joined", "reading an answer that ran already"),
    "pictures": Word("pictures", "preparing pictures"),
    "threads": Word("template", "waiting for a thread that writes prompts"),
    "template": Word("template", "chat template and tokens of the prompt"),
    "vectors": Word("vectors", "computing vectors"),
    "engine": Word("engine", "in the engine, which has not told more"),
    "submit": Word("queue", "on the way to the engine, or waiting until one is ready"),
    "rows": Word("queue", "waiting for a free row of the engine (engine.max_rows)"),
    "pages": Word("queue", "waiting for free pages of keys and values"),
    "turn": Word("queue", "waiting for its turn among the prompts"),
    "beginning": Word("queue", "waiting for a beginning that another request computed, to share it"),
    "adapter": Word("queue", "waiting for its adapter"),
    "grammar": Word("queue", "waiting for its grammar to be compiled"),
    "disk": Word("cache", "reading the beginning of its prompt from disk"),
    "reader": Word("reader", "paused, since the client read too slowly"),
    "put_back": Word("put_back", "put back, for want of pages of keys and values"),
    "parked": Word("put_back", "parked for others"),
    "prefill": Word("prefill", "computing its prompt"),
    "behind": Word("behind", "standing by while the prompts of others were computed, before its own was"),
    "prefill_rest": Word("engine", "steps that decoded others, between the parts of its prompt"),
    "decode": Word("decode", "making tokens"),
    "stall": Word("stall", "stalled between tokens, while the prompts of others were computed"),
    "decode_rest": Word("engine", "other work of the engine, between tokens"),
    "restart": Word("restart", "the engine had died, and another took over"),
    "parse": Word("parse", "reading what the model wrote, behind its last token"),
    "write": Word("write", "writing the answer, which a slow client makes last"),
    "deliver": Word("deliver", "encoding and sending the rest of the answer"),
    "other": Word("other", "not accounted for"),
}
PHASES = tuple(dict.fromkeys(word.phase for word in WORDS.values()))
"""In the order in which a request goes through them."""


def word_of(name: str) -> Word:
    """The word for `name`; a stage that is not known here speaks for itself."""
    return WORDS.get(name) or Word("engine", name.replace("_", " "))
