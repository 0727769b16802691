"""The reference: transformers on torch, in float32, on the CPU.

Owns: building, loading and running a transformers model. Does not own: files of goldens, comparisons. Start reading at `Reference`.
Torch is imported by name on use, so that the project's own environment can check and import this file without it.
"""

import importlib
import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.families import VOCABULARY, gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A transformers model in float32."""

    model: Any

    def save(self, folder: Path, config: Mapping[str, object]) -> None:
        """Write a model folder: weights under their published names, `config`, and a tokenizer whose words are numbers."""
        self.model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (folder / "tokenizer.json").write_text(number_tokenizer(VOCABULARY))

    def logits(self, ids: Sequence[int]) -> Any:
        """Logits of every position: a torch tensor (tokens, vocabulary), float32."""
        torch = importlib.import_module("torch")
        with torch.inference_mode():
            return self.model(torch.tensor([list(ids)])).logits[0].float().clone()

    def noise(self, ids: Sequence[int]) -> float:
        """Largest difference between logits of the whole prompt and logits token by token: how far rounding alone moves them."""
        torch = importlib.import_module("torch")
        cache: Any = None
        steps: list[Any] = []
        with torch.inference_mode():
            for token in ids:
                out = self.model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                steps.append(out.logits[0, 0].float())
            return float((torch.stack(steps) - self.logits(ids)).abs().max())

    def greedy(self, ids: Sequence[int], count: int, *, least_margin: float = 1e-3) -> list[int]:
        """The `count` ids that follow. Raises ValueError where the first two logits are closer than `least_margin`."""
        found: list[int] = []
        for _ in range(count):
            best = self.logits([*ids, *found])[-1].topk(2)
            margin = float(best.values[0] - best.values[1])
            if margin < least_margin:
                raise ValueError(f"The first two logits differ by only {margin!r} after {len(found)} tokens: choose another seed.")
            found.append(int(best.indices[0]))
        return found


def number_tokenizer(vocabulary: int) -> str:
    """A `tokenizer.json` in which token 7 is the word "7"."""
    words = {f"{token}": token for token in range(vocabulary)}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "0"}
    return json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}) + "\n"


def random_reference(config: Mapping[str, object], *, seed: int) -> Reference:
    """A model of `config` with random weights, spread as in `tests.families`."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    with _folder_with(config) as folder:
        parsed = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    spread = _embedding_spread(str(parsed.model_type), tied=bool(parsed.tie_word_embeddings))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if path.endswith("A_log"):
                parameter.copy_((0.1 + 0.4 * torch.rand(parameter.shape, generator=generator)).log())  # slow decay: the state matters
            elif parameter.dim() == 1:
                parameter.add_(noise * 0.1)
            elif "embed_tokens" in path:
                parameter.copy_(noise * spread)
            else:
                parameter.copy_(noise * (gain(path) / parameter.shape[-1] ** 0.5))
    return Reference(model=model)


def _embedding_spread(architecture: str, *, tied: bool) -> float:
    """A tied head must not just repeat the token that was read; Gemma scales embeddings by the root of its width on top."""
    if not tied:
        return 1.0
    return 0.1 if architecture.startswith("gemma") else 0.3


def load_reference(folder: Path) -> Reference:
    """The model of `folder` with weights in float32; weights that MLX quantised are expanded first."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    config = cast("dict[str, object]", json.loads((folder / "config.json").read_text()))
    quantization = cast("dict[str, object] | None", config.pop("quantization", None))
    if quantization is None:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        return Reference(model=model.eval())
    config.pop("quantization_config", None)
    with _folder_with(config) as plain:
        parsed = transformers.AutoConfig.from_pretrained(plain)
    weights = _dequantized(importlib.import_module("safetensors.torch").load_file(folder / "model.safetensors"), quantization)
    model = transformers.AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32).eval()
    missing, unexpected = model.load_state_dict({path: value.float() for path, value in weights.items()}, strict=False)
    model.tie_weights()
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"{folder}: weights do not fit the architecture: missing {missing!r}, unexpected {unexpected!r}")
    return Reference(model=model)


def _dequantized(weights: Mapping[str, Any], quantization: Mapping[str, object]) -> dict[str, Any]:
    """MLX's affine format: 32-bit words hold 32 / bits integers each, lowest bits first; weight = scale * integer + bias by group."""
    torch = importlib.import_module("torch")
    plain: dict[str, Any] = {}
    for path, value in weights.items():
        stem = path.removesuffix(".weight")
        if path.endswith((".scales", ".biases")):
            continue
        if f"{stem}.scales" not in weights:
            plain[path] = value
            continue
        own = cast("dict[str, int]", quantization.get(stem, quantization))
        bits, group = own["bits"], own["group_size"]
        words = value.view(torch.int32).to(torch.int64) & 0xFFFFFFFF
        shifts = torch.arange(32 // bits) * bits
        integers = ((words[..., None] >> shifts) & (2**bits - 1)).flatten(-2).float()
        scales, biases = (weights[f"{stem}.{part}"].float().repeat_interleave(group, dim=-1) for part in ("scales", "biases"))
        plain[path] = scales * integers + biases
    return plain


@contextmanager
def _folder_with(config: Mapping[str, object]) -> Generator[str]:
    """A folder that holds only `config.json`: the one way into transformers that reads a configuration as published."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        yield folder
