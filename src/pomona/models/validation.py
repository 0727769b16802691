"""What a model folder holds, and whether it can be loaded: cheap checks without MLX, for the gateway and the command line too."""

import ast
import difflib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn, cast

from pomona.core.errors import ModelUnusable
from pomona.core.status import Task
from pomona.models.tasks import ENCODER_TYPES, is_encoder, positions_of, task_of
from pomona.models.vision.names import has_vision
from pomona.models.weights import Tensor, read_weights

Json = Mapping[str, object]
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer.model.v3", "sentencepiece.bpe.model", "spiece.model", "spm.model", "tekken.json",
    "tiktoken.model", "vocab.json", "vocab.txt",
)  # fmt: skip
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx", "model_max_length")
LARGEST_CONTEXT = 2**31
"""Tokenizers without a limit say 10^30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    """A model folder that passed the checks."""

    path: Path
    config: Json
    model_type: str
    architecture: str
    tensors: Mapping[str, Tensor]
    parameters: int
    """Weights of the model as they were before they were quantised."""
    weight_bytes: int
    """Bytes of all tensors as stored."""
    dtype: str
    """Type of most stored bytes that are not packed, in safetensors' words, such as BF16."""
    quantization: str | None
    """Such as `8-bit affine, groups of 64`; None where the weights are plain."""
    max_context: int | None
    """Tokens that the model was made for; None where its files do not say."""
    vocabulary: int | None
    eos_token_ids: tuple[int, ...]
    has_chat_template: bool
    task: Task = "generate"
    vision: bool = False
    """It takes pictures: its vision part is known here, and its weights are in the folder."""


def inspect_folder(folder: Path) -> FolderFacts:
    """Read and check a model folder. Raises ModelUnusable naming the file and the reason."""
    config = read_config(folder)
    model_type = check_architecture(folder, config)
    tensors = read_weights(folder)
    tokenizer_config = _read_json(folder / "tokenizer_config.json")
    check_tokenizer(folder)
    return FolderFacts(
        path=folder,
        config=config,
        model_type=model_type,
        architecture=_architecture(config, model_type),
        tensors=tensors,
        parameters=_count_parameters(tensors, config),
        weight_bytes=sum(tensor.nbytes for tensor in tensors.values()),
        dtype=_dtype(tensors),
        quantization=_describe_quantization(config),
        max_context=_max_context(folder, config, tokenizer_config),
        vocabulary=_number(config, "vocab_size", "padded_vocab_size"),
        eos_token_ids=_eos_token_ids(folder, config, tokenizer_config),
        has_chat_template=_has_chat_template(folder, tokenizer_config),
        task=task_of(folder, config),
        vision=has_vision(config, tensors),
    )


def read_config(folder: Path) -> Json:
    """config.json, which must name a `model_type`. Raises ModelUnusable."""
    if not folder.is_dir():
        raise ModelUnusable(f"{str(folder)!r} is not a folder. Give the folder that holds config.json.")
    path = folder / "config.json"
    if not path.is_file():
        raise ModelUnusable(f"The model folder {str(folder)!r} has no config.json, so it is no model or its download did not finish.")
    config = _read_json(path)
    if not isinstance(config.get("model_type"), str):
        _refuse(path, f'must name its model_type as a text, such as "llama"; it says {config.get("model_type")!r}.')
    return config


def check_architecture(folder: Path, config: Json) -> str:
    """The `model_type`, if mlx-lm or `encoders` can load it. Raises ModelUnusable: no code is run, names get suggestions."""
    path = folder / "config.json"
    if config.get("model_file") is not None:
        _refuse(
            path, f"asks to run the Python file {config['model_file']!r} of its folder. Pomona never runs code that comes with a model."
        )
    model_type = str(config["model_type"])
    if is_encoder(config):
        return model_type
    places, renamed = _architecture_modules()
    module = renamed.get(model_type, model_type)
    if module not in places or not _defines_model(places[module]):
        names = supported_model_types()
        close = difflib.get_close_matches(module, names, n=4, cutoff=0.4) or [
            name for name in ("llama", "qwen3", "gemma3") if name in names
        ]
        _refuse(path, f"has the model_type {model_type!r}, which cannot be loaded. Close ones that can: {', '.join(close)}.")
    return model_type


def check_tokenizer(folder: Path) -> None:
    """Whether any known tokenizer file is there. Raises ModelUnusable."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelUnusable(
            f"The model folder {str(folder)!r} has no tokenizer: none of {', '.join(TOKENIZER_FILES)} is there. "
            "Download the model again, or copy the tokenizer files of the model that it was made from."
        )


def supported_model_types() -> list[str]:
    """Every `model_type` that mlx-lm or `encoders` defines, other names for the same architecture included, sorted."""
    places, renamed = _architecture_modules()
    own = {name for name, path in places.items() if _defines_model(path)}
    return sorted(own | {name for name, target in renamed.items() if target in own} | set(ENCODER_TYPES))


def model_source(model_type: str) -> str:
    """The source of mlx-lm's definition of an architecture; empty where it has none."""
    places, renamed = _architecture_modules()
    path = places.get(renamed.get(model_type, model_type))
    return path.read_text(encoding="utf-8") if path else ""


@cache
def _architecture_modules() -> tuple[Mapping[str, Path], Mapping[str, str]]:
    """mlx-lm's model files by name and its renamings, read as files: importing mlx-lm would import MLX."""
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or not spec.submodule_search_locations:
        return {}, {}
    package = Path(spec.submodule_search_locations[0])
    renamed: dict[str, str] = {}
    for node in ast.parse((package / "utils.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODEL_REMAPPING":
            renamed = cast("dict[str, str]", ast.literal_eval(node.value))
    return {path.stem: path for path in (package / "models").glob("*.py")}, renamed


def _defines_model(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return re.search(r"^(class Model\b|Model = )", text, re.MULTILINE) is not None and "ModelArgs" in text


def _architecture(config: Json, model_type: str) -> str:
    names = config.get("architectures")
    return str(cast("list[object]", names)[0]) if isinstance(names, list) and names else model_type


def _count_parameters(tensors: Mapping[str, Tensor], config: Json) -> int:
    """Elements of all tensors; a packed weight counts as scales x group size, and its scales and biases not at all."""
    overrides = _quantization(config) or {}
    total = 0
    for name, tensor in tensors.items():
        stem, _, ending = name.rpartition(".")
        packed = tensors.get(f"{stem}.weight")
        quantised = f"{stem}.scales" in tensors and packed is not None and packed.dtype == "U32"
        if quantised and ending == "weight":
            own = overrides.get(stem)
            group = cast("Json", own if isinstance(own, dict) else overrides).get("group_size", 64)
            total += tensors[f"{stem}.scales"].size * cast("int", group)
        elif not (quantised and ending in {"scales", "biases"}):
            total += tensor.size
    return total


def _dtype(tensors: Mapping[str, Tensor]) -> str:
    held: dict[str, int] = {}
    for tensor in tensors.values():
        if tensor.dtype.startswith(("F", "BF")):
            held[tensor.dtype] = held.get(tensor.dtype, 0) + tensor.nbytes
    return max(held, key=lambda name: held[name], default="unknown")


def _quantization(config: Json) -> Json | None:
    for source in (config, _object(config, "text_config")):
        for key in ("quantization", "quantization_config"):
            if isinstance(source.get(key), dict):
                return cast("Json", source[key])
    return None


def _describe_quantization(config: Json) -> str | None:
    facts = _quantization(config)
    if facts is None:
        return None
    method = facts.get("mode") or facts.get("quant_method") or "affine"
    bits = f"{facts['bits']}-bit {method}" if "bits" in facts else str(method)
    mixed = any(isinstance(value, dict) and "bits" in cast("Json", value) for value in facts.values())
    groups = f", groups of {facts['group_size']}" if "group_size" in facts else ""
    return f"{bits}{groups}{', mixed' if mixed else ''}"


def _max_context(folder: Path, config: Json, tokenizer_config: Json) -> int | None:
    own = _number(_read_json(folder / "sentence_bert_config.json"), "max_seq_length")
    if is_encoder(config):  # longer inputs than there are positions would be looked up outside of the table
        return min(filter(None, (own, positions_of(config))), default=None)
    if own:
        return own
    found = _number(config, *CONTEXT_KEYS) or _number(tokenizer_config, "model_max_length")
    return found if found and found < LARGEST_CONTEXT else None


def _eos_token_ids(folder: Path, config: Json, tokenizer_config: Json) -> tuple[int, ...]:
    generation = _read_json(folder / "generation_config.json")
    sources = (generation, config, _object(config, "text_config"))
    ids = [number for source in sources for number in _integers(source.get("eos_token_id"))]
    named = tokenizer_config.get("eos_token")
    text = _object(tokenizer_config, "eos_token").get("content", named)
    if isinstance(text, str):
        ids += _ids_of_token(folder, tokenizer_config, text)
    return tuple(dict.fromkeys(ids))


def _ids_of_token(folder: Path, tokenizer_config: Json, text: str) -> Iterator[int]:
    for number, token in _object(tokenizer_config, "added_tokens_decoder").items():
        if number.isdigit() and isinstance(token, dict) and cast("Json", token).get("content") == text:
            yield int(number)
            return
    tokenizer = _read_json(folder / "tokenizer.json")
    added = tokenizer.get("added_tokens")
    for token in cast("list[Json]", added) if isinstance(added, list) else ():
        if token.get("content") == text:
            yield from _integers(token.get("id"))
            return
    vocabulary = _object(tokenizer, "model").get("vocab")
    if isinstance(vocabulary, dict):
        yield from _integers(cast("Json", vocabulary).get(text))


def _has_chat_template(folder: Path, tokenizer_config: Json) -> bool:
    return bool(tokenizer_config.get("chat_template")) or any(
        (folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")
    )


def _number(config: Json, *keys: str) -> int | None:
    """The first of `keys` that is a positive number, in the text part of the config first."""
    for source in (_object(config, "text_config"), config):
        for key in keys:
            value = source.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                return int(value)
    return None


def _object(source: Json, key: str) -> Json:
    value = source.get(key)
    return cast("Json", value) if isinstance(value, dict) else {}


def _integers(value: object) -> list[int]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool)]


def _read_json(path: Path) -> Json:
    """The object in a JSON file; empty where the file is absent. Raises ModelUnusable."""
    try:
        value = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read as JSON: {error}. Download it again.")
    if not isinstance(value, dict):
        _refuse(path, f"must hold a JSON object, and holds a {type(value).__name__}. Download it again.")
    return cast("Json", value)


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ModelUnusable(f"The file {str(path)!r} {reason}")
