"""Goldens of adapters: PEFT's own files on the recorded models, and the logits that PEFT gives with them.

Record them with `python -m tests.golden.adapters [name ...]` in the environment of `record.py` with peft beside it (recorded with
peft 0.21.2). Owns: what is recorded and how it is read. Start reading at `CASES`.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden.cases import GOLDEN, REPOSITORY
from tests.golden.reference import Reference, load_reference

ADAPTERS = REPOSITORY / "tests" / "data" / "adapters"
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPT = (46, 95, 105, 39, 101, 7, 12, 55, 80, 31, 4, 99, 61, 23, 88, 17, 70)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An adapter: the golden model that it is for, and PEFT's options for it."""

    model: str
    options: Mapping[str, Any]


CASES: Mapping[str, Case] = {
    "lora": Case(model="llama", options={"r": 4, "lora_alpha": 12, "target_modules": LINEAR}),
    "rslora": Case(
        model="qwen3",
        options={
            "r": 4,
            "lora_alpha": 6,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "use_rslora": True,
            "rank_pattern": {"down_proj": 2, "layers.1.self_attn.q_proj": 3},
            "alpha_pattern": {"v_proj": 9},
        },
    ),
    "dora": Case(model="llama", options={"r": 3, "lora_alpha": 6, "target_modules": LINEAR, "use_dora": True}),
    "embedding": Case(model="gemma3", options={"r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens", "q_proj"]}),
}


def folder_of(name: str) -> Path:
    """Where the adapter `name` and its logits lie."""
    return ADAPTERS / name


def record(name: str) -> None:
    """Write one adapter and the logits of `PROMPT` with it."""
    case, torch = CASES[name], importlib.import_module("torch")
    model = adapted(load_reference(GOLDEN / case.model), case.options, seed=len(name))
    model.save_pretrained(str(folder_of(name)))
    (folder_of(name) / "README.md").unlink(missing_ok=True)
    config = folder_of(name) / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": case.model}, indent=2) + "\n")
    logits = Reference(model=model).logits(PROMPT)
    importlib.import_module("safetensors.torch").save_file({"logits": logits.contiguous()}, folder_of(name) / "logits.safetensors")
    with torch.inference_mode(), model.disable_adapter():
        moved = float((Reference(model=model).logits(PROMPT) - logits).abs().max())
    print(f"{name}: {sum(file.stat().st_size for file in folder_of(name).iterdir())} bytes, logits moved by {moved:.2f}")


def adapted(reference: Reference, options: Mapping[str, Any], *, seed: int) -> Any:
    """`reference` with PEFT's adapter, whose matrices and magnitudes are random and not small."""
    peft, torch = importlib.import_module("peft"), importlib.import_module("torch")
    config = peft.LoraConfig(task_type="CAUSAL_LM", **options)
    model = peft.get_peft_model(reference.model, config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "lora_magnitude_vector" in path:
                parameter.mul_(1 + 0.2 * noise)
            elif "lora_embedding" in path:
                parameter.copy_(noise * 0.3)
            elif "lora_" in path:
                parameter.copy_(noise * (0.5 / parameter.shape[-1] ** 0.5))
    return model


def save_and_ask(reference: Reference, options: Mapping[str, Any], ids: Sequence[int], *, seed: int) -> tuple[Path, Any]:
    """A fresh adapter's folder, and the logits (tokens, vocabulary) that PEFT gives with it."""
    model = adapted(reference, options, seed=seed)
    folder = Path(tempfile.mkdtemp())
    model.save_pretrained(str(folder))
    return folder, Reference(model=model).logits(ids)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or CASES:
        record(chosen)
