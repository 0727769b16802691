"""What a model folder says about its special tokens: their texts, which ones end an answer, whether prompts start with one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pomona.core.errors import ModelUnusable

Json = Mapping[str, object]
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """The facts of one folder, before they meet a vocabulary."""

    named: Mapping[str, str] = field(default_factory=dict[str, str])
    """Texts by name, such as `bos_token`: what chat templates see as variables."""
    additional: tuple[str, ...] = ()
    eos_ids: frozenset[int] = frozenset()
    """From generation_config.json and config.json. The id of `eos_token` comes on top."""
    bos_id: int | None = None
    """From config.json, for folders whose tokenizer files name no token."""
    add_bos: bool | None = None
    """None: as the tokenizer's own post-processor does."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that are special."""
        return (*self.named.values(), *self.additional)

    @property
    def template_variables(self) -> dict[str, object]:
        """Variables that chat templates may use."""
        extra: dict[str, object] = {"additional_special_tokens": list(self.additional)} if self.additional else {}
        return {**self.named, **extra}


def read_special_tokens(folder: Path) -> SpecialTokens:
    """Read tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json as far as they are there.

    Raises ModelUnusable naming the file that cannot be read.
    """
    tokenizer_config = {**read_json(folder / "special_tokens_map.json"), **read_json(folder / "tokenizer_config.json")}
    config = read_json(folder / "config.json")
    configs = (read_json(folder / "generation_config.json"), config, object_at(config, "text_config"))
    add_bos = tokenizer_config.get("add_bos_token")
    named_in_files = any(name in tokenizer_config for name in NAMES)
    bos_ids = [] if named_in_files else [identifier for source in configs for identifier in _ids(source.get("bos_token_id"))]
    return SpecialTokens(
        named=dict(_named_texts(tokenizer_config)),
        additional=tuple(_additional_texts(tokenizer_config)),
        eos_ids=frozenset(identifier for source in configs for identifier in _ids(source.get("eos_token_id"))),
        bos_id=bos_ids[0] if bos_ids else None,
        add_bos=add_bos if isinstance(add_bos, bool) else None,
    )


def read_json(path: Path) -> Json:
    """The JSON object in `path`, empty if there is no such file. Raises ModelUnusable if it holds something else."""
    if not path.is_file():
        return {}
    try:
        loaded = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"The model's file {str(path)!r} cannot be read: {error}. Download the model again.") from None
    if not isinstance(loaded, dict):
        raise ModelUnusable(f"The model's file {str(path)!r} must hold a JSON object; it holds a {type(loaded).__name__}.")
    return cast("Json", loaded)


def object_at(source: Json, key: str) -> Json:
    """The JSON object under `key`, empty if there is none."""
    value = source.get(key)
    return cast("Json", value) if isinstance(value, dict) else {}


def _named_texts(tokenizer_config: Json) -> Iterator[tuple[str, str]]:
    """Besides the usual seven there are tokens of the model's own, such as `image_token`."""
    for name, value in tokenizer_config.items():
        text = _text(value)
        if name.endswith("_token") and text:
            yield name, text


def _additional_texts(tokenizer_config: Json) -> Iterator[str]:
    for name in ("additional_special_tokens", "extra_special_tokens"):
        value = tokenizer_config.get(name)
        listed = cast("list[object]", value) if isinstance(value, list) else list(object_at(tokenizer_config, name).values())
        yield from (text for item in listed if (text := _text(item)))


def _text(value: object) -> str | None:
    """A token is written as a string, or as an object with `content`."""
    content = cast("Json", value).get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None


def _ids(value: object) -> list[int]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool)]
