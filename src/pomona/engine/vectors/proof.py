"""Does this model give a text the same numbers in company as alone? Asked once, with two short texts, when an engine is built.

The encoders are ours and do; decoders are mlx-lm's, and some of its definitions cannot take rows of different lengths. Rather than trust
a list of names, try it (as `pomona.engine.probe` does); a model that fails still serves, one text per pass.
"""

import mlx.core as mx

from pomona.models.encoders.batch import Batch, TextIds
from pomona.models.encoders.model import VectorModel

LENGTHS = (5, 11)
TOLERANCE = 0.05
"""Of the largest number: far above bfloat16 rounding, far below a wrong position or mask."""
ALONE = "so each text has a pass of its own, which is slower."


def prove_batching(model: VectorModel) -> str:
    """Empty if texts may share passes, else why not."""
    texts = [_text(model, count) for count in LENGTHS]
    alone = mx.concatenate([model.encoder(Batch([text])) for text in texts]).astype(mx.float32)
    mx.eval(alone)
    try:
        together = model.encoder(Batch(texts)).astype(mx.float32)
        differs = not float(mx.abs(together - alone).max()) <= TOLERANCE * float(mx.abs(alone).max())
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        return f"This model cannot take texts of different lengths together ({error}), {ALONE}"
    return f"This model gives a text other numbers in company than alone, {ALONE}" if differs else ""


def _text(model: VectorModel, count: int) -> TextIds:
    """As many tokens, or as the model takes."""
    return TextIds(ids=[(count + place) % model.vocabulary for place in range(min(count, model.max_context))])
