"""Decoders as makers of vectors or judges of documents: mlx-lm's definitions, read at the last token."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.core.errors import ModelUnusable
from pomona.models.encoders.batch import Batch
from pomona.models.encoders.layout import VectorLayout
from pomona.models.encoders.nodes import Block, Weights
from pomona.models.validation import FolderFacts

_mlx_lm = cast("Any", importlib.import_module("mlx_lm.utils"))


class Decoder(Block):
    """The decoder below a language model's head. `judge`: ids of the words for yes and no, by whose logits documents are scored."""

    def __init__(self, language_model: nn.Module, width: int, *, score: mx.array | None, judge: tuple[int, int | None] | None) -> None:
        super().__init__()
        self.language_model = language_model
        self.width = width
        if score is not None:
            self.classifier = nn.Linear(width, 1, bias=False)
            self.classifier.weight = score
        self._judge = judge

    def __call__(self, batch: Batch) -> mx.array:
        """The last hidden states, (tokens, width). Tokens see only those before them, so what fills up a row's end changes nothing."""
        language_model = cast("Any", self.language_model)
        hidden = cast("mx.array", language_model.model(batch.ids[batch.grid]))
        return hidden.reshape(-1, hidden.shape[-1])[batch.ungrid]

    def score(self, hidden: mx.array, batch: Batch) -> mx.array:
        """(texts,): the logit of each text, from its last token."""
        last = hidden[batch.last]
        if self._judge is None:
            return self.classifier(last)[:, 0]
        language_model = cast("Any", self.language_model)
        tied = getattr(language_model, "lm_head", None)
        logits = language_model.model.embed_tokens.as_linear(last) if tied is None else tied(last)
        yes, no = self._judge
        return logits[:, yes] if no is None else logits[:, yes] - logits[:, no]


Built = TypeVar("Built", bound=Decoder)


def build_decoder(facts: FolderFacts, layout: VectorLayout, judge: tuple[int, int | None] | None, kind: type[Built]) -> Built:
    """The decoder of a folder, its weights still on disk. Raises what mlx-lm raises for files that do not fit."""
    removed: Weights = {}
    keeps_head = layout.judged_by_words
    classes = _with_renaming(removed, keeps_head=keeps_head)
    config = {} if keeps_head else {"tie_word_embeddings": True}  # without its head a decoder has no weights for one
    module, found = _mlx_lm.load_model(facts.path, lazy=True, strict=True, model_config=config, get_model_classes=classes)
    score = removed.get("score.weight")
    if layout.task == "rerank" and not keeps_head and score is None:
        raise ModelUnusable(f"The weights in {str(facts.path)!r} lack the tensor score.weight. Download the model again.")
    if not hasattr(module, "model") or not hasattr(module.model, "embed_tokens"):
        raise ModelUnusable(f"Models of type {facts.model_type!r} cannot make vectors: their parts are not named as in Llama or Qwen.")
    width = int(found.get("hidden_size") or cast("Mapping[str, Any]", found["text_config"])["hidden_size"])
    return kind(module, width, score=score if layout.task == "rerank" else None, judge=judge)


def _with_renaming(removed: Weights, *, keeps_head: bool) -> Callable[..., tuple[type, type]]:
    """mlx-lm's classes, but that weights of a bare decoder are found too. Those of heads go to `removed`."""

    def classes(config: Mapping[str, Any]) -> tuple[type, type]:
        model_class, args_class = _mlx_lm._get_classes(config=config)  # noqa: SLF001 # mlx-lm has no public name for it

        class Renamed(model_class):  # pyright: ignore[reportUntypedBaseClass]
            def sanitize(self, weights: Weights) -> Weights:
                heads = ("score.",) if keeps_head else ("score.", "lm_head.")
                removed.update({name: weights.pop(name) for name in list(weights) if name.startswith(heads)})
                bare = not any(name.startswith(("model.", "language_model.")) for name in weights)
                named = {f"model.{name}": value for name, value in weights.items()} if bare else weights
                inherited = getattr(super(), "sanitize", None)
                return inherited(named) if inherited else named

        return Renamed, args_class

    return classes
