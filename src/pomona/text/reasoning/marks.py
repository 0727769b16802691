"""How families of models mark their thoughts. Found in the chat template or, failing that, among the tokenizer's own tokens."""

from dataclasses import dataclass

from pomona.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtMarks:
    """The marks of one family."""

    open: str
    close: str
    forced: str = ""
    """What ends a thought by force; empty: a line break, `close`, and a blank line."""
    empty: str = ""
    """A thought of nothing; empty: `open` and `close` on two lines."""
    wrap: tuple[str, str] | None = None
    """Marks around the answer behind a thought; they are no part of it."""
    behind: str = ""
    """What the model writes between the end of a thought and a call or an answer."""
    answer: str = ""
    """What it writes before an answer that is no call."""
    channels: bool = False
    """A dialect's parser splits thoughts from the answer (`Dialect.reads_thoughts`)."""

    @property
    def ending(self) -> str:
        """What ends a thought by force."""
        return self.forced or f"\n{self.close}\n\n"

    @property
    def beginning(self) -> str:
        """What begins a thought, with the line break that most models put behind it."""
        return self.open if self.forced or self.open.endswith("\n") else f"{self.open}\n"

    @property
    def nothing(self) -> str:
        """A thought of nothing, for models that cannot be told not to think."""
        return self.empty or f"{self.open}\n{self.ending}"


HARMONY = ThoughtMarks(
    open="<|channel|>analysis<|message|>",
    close="<|end|>",
    forced="<|end|><|start|>assistant<|channel|>final<|message|>",
    empty="<|channel|>analysis<|message|><|end|><|start|>assistant",
    behind="<|start|>assistant",
    answer="<|channel|>final<|message|>",
    channels=True,
)
THINK = ThoughtMarks(open="<think>", close="</think>")
FAMILIES: tuple[tuple[str, ThoughtMarks], ...] = (
    ("<|channel|>analysis", HARMONY),
    ("<seed:think>", ThoughtMarks(open="<seed:think>", close="</seed:think>")),
    ("<|START_THINKING|>", ThoughtMarks(open="<|START_THINKING|>", close="<|END_THINKING|>", forced="<|END_THINKING|>")),
    ("[THINK]", ThoughtMarks(open="[THINK]", close="[/THINK]", forced="[/THINK]")),
    ("<|channel>thought", ThoughtMarks(open="<|channel>thought\n", close="<channel|>", forced="\n<channel|>")),
    ("<|inner_prefix|>", ThoughtMarks(open="<|inner_prefix|>", close="<|inner_suffix|>", forced="<|inner_suffix|>")),
    (
        "Here are my reasoning steps:",
        ThoughtMarks(
            open="Here are my reasoning steps:\n",
            close="[BEGIN FINAL RESPONSE]",
            wrap=("", "[END FINAL RESPONSE]"),
        ),
    ),
    (
        "[BEGIN FINAL RESPONSE]",
        ThoughtMarks(
            open="Here are my reasoning steps:",
            close="[BEGIN FINAL RESPONSE]",
            wrap=("", "[END FINAL RESPONSE]"),
        ),
    ),
    ("Here is my thought process:", ThoughtMarks(open="Here is my thought process:", close="Here is my response:")),
    (
        "<|think|>",
        ThoughtMarks(open="<|think|>", close="<|end|>", forced="<|end|><|begin|>assistant", wrap=("<|begin|>assistant", "")),
    ),
    ("<response>", ThoughtMarks(open="<think>", close="</think>", wrap=("<response>", "</response>"))),
    ("<think>", THINK),
    ("</think>", THINK),
)
"""(what a chat template contains, its marks), tried in order."""
OWN_TOKENS = (THINK, ThoughtMarks(open="[THINK]", close="[/THINK]", forced="[/THINK]"))


def find_thought_marks(source: str, tokenizer: Tokenizer) -> ThoughtMarks | None:
    """The marks of the model with the chat template `source`; None where it has none."""
    named = next((marks for sign, marks in FAMILIES if sign in source), None)
    return named or next((marks for marks in OWN_TOKENS if _are_tokens(marks, tokenizer)), None)


def _are_tokens(marks: ThoughtMarks, tokenizer: Tokenizer) -> bool:
    return all(len(tokenizer.encode(mark, add_special_tokens=False)) == 1 for mark in (marks.open, marks.close))
