"""RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: BERT whose positions begin behind the padding token, with a head of its own."""

import mlx.core as mx
import mlx.nn as nn

from pomona.models.encoders.batch import Batch
from pomona.models.encoders.bert import Bert, Config
from pomona.models.encoders.nodes import Node
from pomona.models.encoders.operations import Operations


class Roberta(Bert):
    """The encoder of a RoBERTa."""

    prefix = "roberta."

    def __init__(self, config: Config, operations: Operations, *, scores: bool) -> None:
        super().__init__(config, operations, scores=scores)
        self._padding = _padding(config)

    def add_head(self, width: int) -> None:
        """As `Bert.add_head`."""
        self.classifier = Node(dense=nn.Linear(width, width), out_proj=nn.Linear(width, 1))

    def positions(self, batch: Batch) -> mx.array:
        """As `Bert.positions`."""
        return batch.positions_without(self._padding) + self._padding

    def score(self, hidden: mx.array, batch: Batch) -> mx.array:
        """As `Bert.score`."""
        return self.classifier.out_proj(mx.tanh(self.classifier.dense(hidden[batch.first])))[:, 0]


def _padding(config: Config) -> int:
    found = config.get("pad_token_id")
    return 1 if found is None else int(found)
