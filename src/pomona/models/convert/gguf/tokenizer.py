"""The tokenizer of a GGUF file, built by transformers, and its chat template."""

import importlib
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer
from tokenizers.normalizers import Normalizer, Prepend, Replace, Sequence

from pomona.core.errors import ModelUnusable
from pomona.models.convert.gguf.file import GgufFile
from pomona.models.convert.writing import write_json

PREFIX = "tokenizer.ggml"
LISTS = {"tokens": "tokens", "merges": "merges", "scores": "scores", "token_type": "token_type"}
SPECIAL = {"bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id", "pad_token": "padding_token_id"}
BUILD_ERRORS = (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError)


def write_tokenizer(file: GgufFile, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where the file has one, chat_template.jinja. Raises ModelUnusable."""
    parts: dict[str, Any] = {name: file.items(f"{PREFIX}.{key}") for name, key in LISTS.items() if f"{PREFIX}.{key}" in file}
    if not parts.get("tokens"):
        raise ModelUnusable(
            f"{file.path.name!r} has no tokenizer ({PREFIX}.tokens). It is a part of a model, such as an adapter or projector."
        )
    parts |= {"tokenizer_type": file.text(f"{PREFIX}.model"), "pre_tokenizer_type": file.text(f"{PREFIX}.pre", "default")}
    if parts["tokenizer_type"] == "gpt2":
        parts.setdefault("merges", [])  # llama.cpp leaves out a list that is empty
    build = cast("Any", importlib.import_module("transformers.integrations.gguf.gguf_tokenizer_mapping")).convert_gguf_tokenizer
    try:
        tokenizer, _ = build(file.architecture, parts)
    except BUILD_ERRORS as error:
        raise ModelUnusable(f"The tokenizer of {file.path.name!r} ({parts['tokenizer_type']}) cannot be built: {error}") from None
    if parts["tokenizer_type"] == "llama" and not file.architecture.startswith("gemma"):
        _spell_like_sentencepiece(tokenizer, prefix=bool(file.number(f"{PREFIX}.add_space_prefix", True)))
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", _settings(file, parts))
    if "tokenizer.chat_template" in file:
        (folder / "chat_template.jinja").write_text(file.text("tokenizer.chat_template"), encoding="utf-8")


def _spell_like_sentencepiece(tokenizer: Tokenizer, *, prefix: bool) -> None:
    """A blank before every text, even one that begins with a blank: transformers would leave it out there, llama.cpp does not."""
    steps: list[Normalizer] = [Prepend("\u2581")] if prefix else []
    tokenizer.normalizer = Sequence([*steps, Replace(" ", "\u2581")])
    tokenizer.pre_tokenizer = None


def _settings(file: GgufFile, parts: dict[str, Any]) -> dict[str, object]:
    tokens: list[str] = parts["tokens"]
    found: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, key in SPECIAL.items():
        if f"{PREFIX}.{key}" in file:
            place = int(file.number(f"{PREFIX}.{key}"))
            if not 0 <= place < len(tokens):
                raise ModelUnusable(f"{file.path.name!r} says {key} = {place}, but has {len(tokens)} tokens.")
            found[name] = tokens[place]
    sentencepiece = parts["tokenizer_type"] == "llama"
    found["add_bos_token"] = bool(file.items(f"{PREFIX}.add_bos_token")[0]) if f"{PREFIX}.add_bos_token" in file else sentencepiece
    return found
