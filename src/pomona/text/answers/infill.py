"""Prompts with a gap: the text before it and the text behind it, in the order that the model was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

from pomona.core.errors import UnsupportedField
from pomona.text.answers.marks import single_token
from pomona.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The marks of one family. The order is `begin`, prefix, `hole`, suffix, `middle`; with `suffix_first` begin, suffix, hole, prefix."""

    begin: str
    hole: str
    middle: str = ""
    suffix_first: bool = False
    ends: tuple[str, ...] = ()
    """More marks that end what fills the gap."""


FAMILIES = (
    Gap(
        begin="<|fim_prefix|>",
        hole="<|fim_suffix|>",
        middle="<|fim_middle|>",
        ends=("<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<|repo_name|>", "<|endoftext|>"),
    ),
    Gap(begin="<fim_prefix>", hole="<fim_suffix>", middle="<fim_middle>", ends=("<fim_pad>", "<file_sep>", "<|endoftext|>")),
    Gap(begin="<fim-prefix>", hole="<fim-suffix>", middle="<fim-middle>", ends=("<fim-pad>", "<|endoftext|>")),
    Gap(begin="<｜fim▁begin｜>", hole="<｜fim▁hole｜>", middle="<｜fim▁end｜>"),
    Gap(begin="▁<PRE>", hole="▁<SUF>", middle="▁<MID>", ends=("▁<EOT>",)),
    Gap(begin="<PRE>", hole="<SUF>", middle="<MID>", ends=("<EOT>",)),
    Gap(begin="[SUFFIX]", hole="[PREFIX]", suffix_first=True),
)
"""Qwen, CodeGemma; StarCoder 2, Granite; SantaCoder; DeepSeek; Code Llama; Codestral."""


def infill_ids(tokenizer: Tokenizer, prefix: str, suffix: str) -> list[int]:
    """The prompt that asks for the text between `prefix` and `suffix`. Raises UnsupportedField for models that cannot fill gaps."""
    gap = _gap_of(tokenizer)
    if gap is None:
        raise UnsupportedField(
            "This model cannot fill in the middle: its tokenizer has no marks for the text behind the gap. Leave out `suffix`, or choose a "
            "model that was trained for it, such as Qwen2.5-Coder.",
            param="suffix",
        )
    first, second = (suffix, prefix) if gap.suffix_first else (prefix, suffix)
    begin = tokenizer.encode("", add_special_tokens=True)
    return [
        *begin,
        *_ids(tokenizer, [gap.begin]),
        *tokenizer.encode(first, add_special_tokens=False),
        *_ids(tokenizer, [gap.hole]),
        *tokenizer.encode(second, add_special_tokens=False),
        *_ids(tokenizer, [gap.middle]),
    ]


def infill_ends(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that end the text in a gap, beside the model's own ends."""
    gap = _gap_of(tokenizer)
    return frozenset(_ids(tokenizer, (gap.begin, gap.hole, gap.middle, *gap.ends))) if gap else frozenset()


def _gap_of(tokenizer: Tokenizer) -> Gap | None:
    return next((gap for gap in FAMILIES if single_token(tokenizer, gap.begin) is not None and _has(tokenizer, gap)), None)


def _has(tokenizer: Tokenizer, gap: Gap) -> bool:
    marks = [mark for mark in (gap.begin, gap.hole, gap.middle) if mark]
    return len(_ids(tokenizer, marks)) == len(marks)


def _ids(tokenizer: Tokenizer, marks: Sequence[str]) -> list[int]:
    """The ids of those marks that are one token."""
    return [token for mark in marks if mark and (token := single_token(tokenizer, mark)) is not None]
