"""What the text side costs the gateway: detokenising, stop strings, templates, tokenising.

    scripts/bench text --tokens 20000

Each line is the best of several runs of the same work in this process. The others are what mlx-lm, tokenizers and transformers
offer for streaming; transformers gives text out only at spaces, mlx-lm's at spaces for some vocabularies.
"""

import argparse
import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import DecodeStream

import pomona
from pomona.core.generation import GenerateRequest, TokenLogprobs, TokenStep
from pomona.core.messages import Message, Role, TextPart
from pomona.text.detokenizer import make_detokenizer
from pomona.text.output import TextOutput
from pomona.text.prompt import PromptBuilder
from pomona.text.templates import load_chat_template
from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer

ROOT = Path(__file__).parents[1]
BUNDLED = Path(pomona.__file__).parent / "models" / "bundled" / "pomona-tiny"
STORIES = ROOT / "tests" / "data" / "stories260K"
SAMPLE = "Once upon a time there was a naïve baker in Łódź who said: “Bread costs 3.50 €!” 日本語 😀 She ran home.\n"
STOPS = ("\nUser:", "<|end|>", "She will never say this", "😀😀")
RUNS = 5


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000, help="length of the text")
    tokens: int = parser.parse_args().tokens
    for folder in (BUNDLED, STORIES):
        by = load_tokenizer(folder)
        ids = by.encode(SAMPLE * tokens, add_special_tokens=False)[:tokens]
        print(f"\n{folder.name}: {tokens:,} tokens, {len(by.decode(ids)):,} characters")
        for name, work in streams(folder, by, ids):
            report(name, work, tokens, "µs/token")
    prompts()


def report(name: str, work: Callable[[], object], units: int, unit: str) -> None:
    """Print the best of the runs, per unit."""
    seconds: list[float] = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(f"  {name:<58} {min(seconds) / units * 1e6:>10.3f} {unit}", flush=True)


def streams(folder: Path, by: Tokenizer, ids: list[int]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Ways to turn ids into text while they come, one id a step."""
    fast = FastTokenizer.from_file(str(folder / "tokenizer.json"))
    slow = importlib.import_module("transformers").AutoTokenizer.from_pretrained(str(folder))
    yield "Pomona, detokeniser alone", lambda: detokenise(by, ids)
    yield "Pomona, events, 4 stop strings", lambda: events(by, ids, STOPS, logprobs=False)
    yield "Pomona, events, 4 stop strings, log-probabilities", lambda: events(by, ids, STOPS, logprobs=True)
    yield "tokenizers.DecodeStream", lambda: decode_stream(fast, ids)
    yield "transformers.TextStreamer", lambda: text_streamer(slow, ids)
    wrapper = importlib.import_module("mlx_lm.tokenizer_utils").load(folder)
    yield f"mlx_lm {type(wrapper.detokenizer).__name__}", lambda: mlx_detokenise(wrapper, ids)


def detokenise(by: Tokenizer, ids: list[int]) -> str:
    """Only ids to text."""
    detokenizer = make_detokenizer(by)
    return "".join([detokenizer.push((token_id,)) for token_id in ids]) + detokenizer.finish()


def events(by: Tokenizer, ids: list[int], stops: tuple[str, ...], *, logprobs: bool) -> int:
    """All that happens to a step on its way to the HTTP codec."""
    output = TextOutput(by, GenerateRequest(id="one", model="one", text="a", stop=stops), 1)
    scores = (TokenLogprobs(logprob=-1.0, top=((5, -1.0), (6, -2.0))),) if logprobs else ()
    return sum(len(output.push(TokenStep(token_ids=(token_id,), logprobs=scores))) for token_id in ids)


def decode_stream(fast: FastTokenizer, ids: list[int]) -> str:
    """The stream of the library below."""
    stream = DecodeStream(skip_special_tokens=True)
    return "".join([stream.step(fast, token_id) or "" for token_id in ids])


def text_streamer(slow: Any, ids: list[int]) -> str:
    """The stream of transformers, kept from printing."""
    import numpy as np

    parts: list[str] = []
    streamer = importlib.import_module("transformers").TextStreamer(slow, skip_special_tokens=True)

    def collect(text: str, stream_end: bool = False) -> None:
        del stream_end
        parts.append(text)

    streamer.on_finalized_text = collect
    for token_id in ids:
        streamer.put(np.array([token_id]))
    streamer.end()
    return "".join(parts)


def mlx_detokenise(wrapper: Any, ids: list[int]) -> str:
    """The one that mlx-lm chooses for the vocabulary."""
    detokenizer = wrapper.detokenizer
    parts: list[str] = []
    for token_id in ids:
        detokenizer.add_token(token_id)
        parts.append(detokenizer.last_segment)
    detokenizer.finalize()
    return "".join(parts) + str(detokenizer.last_segment)


def prompts() -> None:
    """From messages to ids, by length of the conversation."""
    by = load_tokenizer(BUNDLED)
    builder = PromptBuilder(by, load_chat_template(BUNDLED, variables=by.template_variables), max_context=10**6)
    print("\nprompts of the bundled model")
    for turns in (1, 10, 100, 1000):
        roles: tuple[Role, ...] = ("user", "assistant")
        messages = tuple(Message(role=roles[turn % 2], content=(TextPart(text=SAMPLE),)) for turn in range(turns))
        request = GenerateRequest(id="one", model="one", messages=messages)
        length = len(builder.build(request).token_ids)
        report(f"{turns} messages, {length:,} tokens", lambda request=request: builder.build(request), 1, "µs")
    report("load the tokeniser", lambda: load_tokenizer(BUNDLED), 1, "µs")


if __name__ == "__main__":
    main()
