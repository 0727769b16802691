"""The reference for encoders: transformers and sentence-transformers on torch, in float32, on the CPU. Imported by name, on use."""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.golden.encoder_cases import NO, POOLING_MODES, SECOND, VOCABULARY, YES
from tests.golden.reference import number_tokenizer

sys.modules.setdefault("torchvision", None)  # pyright: ignore[reportArgumentType] # not needed, and broken beside a torch for CPUs


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderReference:
    """A transformers model in float32."""

    model: Any
    pairs: bool

    def outputs(self, ids: Sequence[int]) -> tuple[Any, Any]:
        """Hidden states (tokens, width) and the logit of one input, None where the model has no head."""
        torch = importlib.import_module("torch")
        types = {"token_type_ids": torch.tensor([[int(place >= SECOND) for place in range(len(ids))]])} if self.pairs else {}
        with torch.inference_mode():
            out = self.model(torch.tensor([list(ids)]), output_hidden_states=True, **types)
        hidden = out.last_hidden_state if "last_hidden_state" in out else out.hidden_states[-1]
        logits = out.get("logits")
        if logits is not None and logits.ndim == 3:
            logits = logits[0, -1, YES] - logits[0, -1, NO]
        return hidden[0].float().clone().contiguous(), None if logits is None else logits.reshape(-1)[0].float()

    def save(self, folder: Path, config: Mapping[str, object]) -> None:
        """Write a model folder."""
        self.model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "tokenizer.json").write_text(number_tokenizer(VOCABULARY).replace(f'"{YES}":', '"yes":').replace(f'"{NO}":', '"no":'))


def random_encoder(config: Mapping[str, object], *, seed: int) -> EncoderReference:
    """A model of `config` with random weights; norms and biases are no longer what they are at first."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    torch.manual_seed(seed)
    (named,) = cast("list[str]", config["architectures"])
    kind = getattr(transformers, named)
    given = {key: value for key, value in config.items() if key not in {"architectures", "model_type"}}
    model = kind(kind.config_class(**given, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
            elif "embed" not in name:
                parameter.copy_(torch.randn(parameter.shape) * 1.3 / parameter.shape[-1] ** 0.5)
    return EncoderReference(model=model, pairs="type_vocab_size" in config and config["type_vocab_size"] == 2 and "id2label" in config)


def pooled(hidden: Any) -> dict[str, Any]:
    """sentence-transformers' poolings of hidden states (tokens, width), all (width,)."""
    torch = importlib.import_module("torch")
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    mask = torch.ones(1, hidden.shape[0], dtype=torch.int64)
    return {
        mode: modules.Pooling(hidden.shape[1], mode)({"token_embeddings": hidden[None], "attention_mask": mask})["sentence_embedding"][0]
        for mode in POOLING_MODES
    }
