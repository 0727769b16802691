"""From a folder to a `VectorModel`: strict about names and shapes of weights, quantised ones in MLX's layout included."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from tokenizers import Tokenizer

from pomona.core.errors import ModelUnusable
from pomona.core.status import Task
from pomona.models.cpu.expansion import expand_to_float32, flat_parameters
from pomona.models.cpu.kernels import load_kernels
from pomona.models.cpu.rotary import share_rotary_tables
from pomona.models.device import Device
from pomona.models.encoders.bert import Bert
from pomona.models.encoders.decoder import Decoder, build_decoder
from pomona.models.encoders.gemma import MODEL_TYPE, BothWaysGemma
from pomona.models.encoders.layout import VectorLayout, read_layout
from pomona.models.encoders.model import VectorModel, modules_of
from pomona.models.encoders.modernbert import ModernBert
from pomona.models.encoders.nodes import Weights
from pomona.models.encoders.operations import CpuOperations, Operations
from pomona.models.encoders.pooling import Pooling
from pomona.models.encoders.roberta import Roberta
from pomona.models.loading import BUILD_ERRORS, FALLBACK_CONTEXT
from pomona.models.tasks import ENCODER_TYPES, is_encoder, looks_both_ways
from pomona.models.validation import FolderFacts, inspect_folder

_CLASSES: Mapping[str, type[Bert] | type[ModernBert]] = {"bert": Bert, "roberta": Roberta, "modernbert": ModernBert}
_HEADS = ("cls.", "lm_head.", "head.", "decoder.", "pooler.", "classifier.", "score.", "qa_outputs.")
"""Parts of published models that have no use here, unless the module has them."""
SHOWN = 5


def load_vector_model(folder: Path, task: Task, device: Device, *, dequantize_on_cpu: bool, cache_folder: Path) -> VectorModel:
    """Load the model of `folder` for `task`, embed or rerank. On CPUs its weights become float32, unless `dequantize_on_cpu` is off.

    `cache_folder` keeps the compiled functions for CPUs. Raises ModelUnusable naming the file or the tensors.
    """
    facts = inspect_folder(folder)
    layout = read_layout(folder, facts.config, task)
    _check_labels(facts, layout)
    plain = device.kind == "cpu" and dequantize_on_cpu
    kernels = load_kernels(cache_folder) if plain else None
    operations = CpuOperations(kernels) if kernels else Operations()
    try:
        encoder = _encoder(facts, layout, operations) if is_encoder(facts.config) else _decoder(facts, layout)
        width = int(encoder.width) if hasattr(encoder, "width") else int(cast("int", facts.config["hidden_size"]))
        pooling = _pooling(layout, width) if layout.task == "embed" else None
        weights = modules_of(encoder, pooling)
        if plain:
            expand_to_float32(weights)
            share_rotary_tables(weights)
        weights.eval()
        mx.eval(weights.parameters())
    except BUILD_ERRORS as error:
        raise _explained(facts, error) from error
    return VectorModel(
        task=layout.task,
        encoder=cast("Any", encoder),
        pooling=pooling,
        architecture=facts.architecture,
        width=pooling.width if pooling else 1,
        max_context=facts.max_context or FALLBACK_CONTEXT,
        vocabulary=_vocabulary(facts),
        weight_bytes=sum(array.nbytes for _, array in flat_parameters(weights)),
        warnings=_warnings(plain=plain, kernels=kernels is not None),
    )


def _vocabulary(facts: FolderFacts) -> int:
    """Ids are checked against it: MLX does not notice those that lie outside of the table."""
    if not facts.vocabulary:
        raise ModelUnusable(f"The file {str(facts.path / 'config.json')!r} does not give vocab_size. Download it again.")
    return facts.vocabulary


def _check_labels(facts: FolderFacts, layout: VectorLayout) -> None:
    labels = facts.config.get("id2label")
    count = len(cast("Mapping[str, object]", labels)) if isinstance(labels, dict) else facts.config.get("num_labels", 1)
    if layout.task == "rerank" and not layout.judged_by_words and count != 1:
        path = facts.path / "config.json"
        raise ModelUnusable(f"The file {str(path)!r} describes a classifier of {count!r} classes; a reranker has 1.")


def _judge(facts: FolderFacts, layout: VectorLayout) -> tuple[int, int | None] | None:
    """The ids of the words for yes and no: those that the folder names, else of the words themselves."""
    if not layout.judged_by_words or layout.judge:
        return layout.judge
    path = facts.path / "tokenizer.json"
    words = Tokenizer.from_file(str(path)) if path.is_file() else None
    yes, no = (words.token_to_id(word) if words else None for word in ("yes", "no"))
    if yes is None or no is None:
        raise ModelUnusable(f"The file {str(path)!r} lacks the tokens 'yes' and 'no', by which this kind of reranker judges.")
    return yes, no


def _encoder(facts: FolderFacts, layout: VectorLayout, operations: Operations) -> Bert | ModernBert:
    kind = _CLASSES[ENCODER_TYPES[facts.model_type]]
    module = kind(facts.config, operations, scores=layout.task == "rerank")
    found = _read(facts.path)
    prefixed = any(name.startswith(kind.prefix) for name in found)
    weights = kind.rename({name.removeprefix(kind.prefix) if prefixed else name: value for name, value in found.items()})
    _quantize(module, weights, facts.config)
    _fill(module, weights, facts.path)
    return module


def _decoder(facts: FolderFacts, layout: VectorLayout) -> Decoder:
    """Those that were trained to look both ways need other masks than mlx-lm's."""
    if not looks_both_ways(facts.config):
        return build_decoder(facts, layout, _judge(facts, layout), Decoder)
    if facts.model_type != MODEL_TYPE:
        raise ModelUnusable(
            f"The file {str(facts.path / 'config.json')!r} asks for attention in both directions, which Pomona computes for encoders and "
            f"EmbeddingGemma ({MODEL_TYPE}) only."
        )
    gemma = build_decoder(facts, layout, None, BothWaysGemma)
    gemma.check(facts)
    return gemma


def _read(folder: Path) -> Weights:
    weights: Weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights.update(cast("Weights", mx.load(str(path))))
    return weights


def _quantize(module: nn.Module, weights: Weights, config: Mapping[str, object]) -> None:
    """Make those layers quantised ones whose weights are."""
    found = cast("dict[str, Any]", config.get("quantization") or {})
    if not found:
        return
    whole = {key: found[key] for key in ("group_size", "bits", "mode") if key in found}

    def choose(path: str, layer: nn.Module) -> bool | dict[str, Any]:
        if f"{path}.scales" not in weights or not hasattr(layer, "to_quantized"):
            return False
        return cast("dict[str, Any]", found.get(path) or whole)

    nn.quantize(module, **whole, class_predicate=choose)  # pyright: ignore[reportArgumentType]


def _fill(module: nn.Module, weights: Weights, folder: Path) -> None:
    """Put `weights` into `module`. Raises ModelUnusable naming tensors that are missing, unknown or of another shape."""
    expected = dict(flat_parameters(module))
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected and not name.startswith(_HEADS)]
    shapes = [
        f"{name} is {list(weights[name].shape)} and should be {list(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    for problem, names in (("lack the tensors", missing), ("hold unknown tensors", unknown), ("hold tensors of another shape:", shapes)):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise ModelUnusable(
                f"The weights in {str(folder)!r} {problem} {', '.join(names[:SHOWN])}{more}. "
                "Config and weights must come from the same model; download it again."
            )
    module.load_weights([(name, weights[name]) for name in expected])


def _pooling(layout: VectorLayout, width: int) -> Pooling:
    pooling = Pooling(layout, width)
    for index, step in enumerate(layout.dense):
        pooling.load(index, step)
    return pooling


def _explained(facts: FolderFacts, error: BaseException) -> ModelUnusable:
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = f"the entry {reason} is missing" if isinstance(error, KeyError) else reason
    return ModelUnusable(
        f"The model folder {str(facts.path)!r} does not make a model of type {facts.model_type!r}: {reason[:600]}. "
        "Config and weights must come from the same model; download it again."
    )


def _warnings(*, plain: bool, kernels: bool) -> tuple[str, ...]:
    if plain and not kernels and sys.platform == "linux":
        return ("No C compiler (cc, gcc, clang) works here, so vectors take about twice as long. Install one, such as gcc.",)
    return ()
