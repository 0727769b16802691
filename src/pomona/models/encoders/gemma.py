"""EmbeddingGemma (Vera et al. 2025): mlx-lm's Gemma 3 with attention in both directions."""

from typing import Any, cast

import mlx.core as mx

from pomona.core.errors import ModelUnusable
from pomona.models.encoders.batch import Batch
from pomona.models.encoders.decoder import Decoder
from pomona.models.validation import FolderFacts

MODEL_TYPE = "gemma3_text"


class BothWaysGemma(Decoder):
    """Its layers are mlx-lm's; the masks are not. In layers of sliding attention tokens see `sliding_window` // 2 others to each side."""

    def check(self, facts: FolderFacts) -> None:
        """Raise ModelUnusable unless mlx-lm's layers are of the kinds that the configuration lists."""
        kinds = ["sliding_attention" if layer.self_attn.is_sliding else "full_attention" for layer in self._model.layers]
        listed = facts.config.get("layer_types")
        if listed is not None and listed != kinds:
            path = facts.path / "config.json"
            raise ModelUnusable(f"The file {str(path)!r} lists layer_types in an order that mlx-lm's Gemma 3 does not have: {listed!r}.")

    def __call__(self, batch: Batch) -> mx.array:
        """As `Decoder.__call__`, but all tokens of a text see each other."""
        model = self._model
        x = model.embed_tokens(batch.ids[batch.grid])
        x = x * mx.array(self.width**0.5, x.dtype)
        places = mx.arange(batch.longest)
        near = mx.abs(places[:, None] - places[None]) <= model.window_size // 2
        all_tokens = mx.broadcast_to(batch.held[:, None, None], (len(batch.texts), 1, batch.longest, batch.longest))
        for layer in model.layers:
            x = layer(x, all_tokens & near if layer.self_attn.is_sliding else all_tokens, None)
        x = model.norm(x)
        return cast("mx.array", x.reshape(-1, x.shape[-1])[batch.ungrid])

    @property
    def _model(self) -> Any:
        return cast("Any", self.language_model).model
