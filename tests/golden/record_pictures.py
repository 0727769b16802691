"""Record the goldens with pictures: `python -m tests.golden.record_pictures [name ...]`, where `record.py` runs and torchvision is."""

import copy
import importlib
import json
import random
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pomona.pictures.geometry.facts import expansion
from pomona.pictures.geometry.reading import read_vision_facts
from tests.families import gain
from tests.golden.cases import TOLERANCE
from tests.golden.picture_cases import (
    CONFIGS,
    GREEDY_TOKENS,
    MARKS,
    PICTURE,
    PICTURE_GOLDEN,
    PICTURE_NAMES,
    SPECIAL,
    VOCABULARY,
    processor_of,
)
from tests.golden.reference import number_tokenizer

SIZES: Sequence[Sequence[tuple[int, int]]] = ((), ((40, 24),), ((8, 56), (32, 16)))
"""(width, height) of the pictures of each prompt, where the family takes any size."""
MOST_BYTES = 350_000
MOST_DRAWS = 20
LEAST_MARGIN = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureReference:
    """A transformers model with its picture processor."""

    model: Any
    processor: Any

    def logits(self, ids: Sequence[int], pixels: Sequence[np.ndarray]) -> Any:
        """(tokens, vocabulary) of every position: a torch tensor, float32. `pixels` are (height, width, 3) each."""
        torch = importlib.import_module("torch")
        batch = torch.tensor([list(ids)])
        kind = str(self.model.config.model_type)
        inputs: dict[str, Any] = dict(self.processor(images=[_image(each) for each in pixels], return_tensors="pt")) if pixels else {}
        inputs.pop("num_crops", None)
        if pixels and kind.startswith("qwen"):
            inputs["mm_token_type_ids"] = (batch == PICTURE).int()
        if kind == "gemma3":
            inputs["token_type_ids"] = (batch == PICTURE).int()
        if hasattr(self.model.model, "rope_deltas"):
            self.model.model.rope_deltas = None
        kept = next(self.model.parameters()).dtype
        inputs = {key: value.to(kept) if value.is_floating_point() else value for key, value in inputs.items()}
        with torch.inference_mode():
            return self.model(input_ids=batch, **inputs, use_cache=False).logits[0].clone()

    def noise(self, ids: Sequence[int], pixels: Sequence[np.ndarray]) -> float:
        """Largest difference of a logit to that in float64: how far rounding alone moves them."""
        exact = PictureReference(model=copy.deepcopy(self.model).double(), processor=self.processor)
        return float((exact.logits(ids, pixels) - self.logits(ids, pixels)).abs().max())

    def greedy(self, ids: Sequence[int], pixels: Sequence[np.ndarray]) -> list[int]:
        """The ids that follow. Raises ValueError where rounding could decide."""
        found: list[int] = []
        for _ in range(GREEDY_TOKENS):
            best = self.logits([*ids, *found], pixels)[-1].topk(2)
            if float(best.values[0] - best.values[1]) < LEAST_MARGIN:
                raise ValueError("the first two logits are too close: choose another seed")
            found.append(int(best.indices[0]))
        return found


def build_reference(name: str, *, seed: int) -> PictureReference:
    """A model of `CONFIGS[name]` with random weights from `seed`."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(CONFIGS[name]))
        config = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_config(
        config, attn_implementation="eager", experts_implementation="eager", dtype=torch.float32
    ).eval()
    generator = torch.Generator().manual_seed(seed)
    tied = bool(CONFIGS[name]["text_config"].get("tie_word_embeddings"))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(noise * 0.1)
            elif "embed_tokens" in path:
                parameter.copy_(noise * (0.1 if tied else 1.0))
            else:
                spread = parameter[0].numel() if "patch" in path and parameter.dim() > 2 else parameter.shape[-1]
                sharp = 1.0 if "visual" in path or "vision_tower" in path or "projector" in path else gain(path)
                parameter.copy_(noise * (sharp / spread**0.5))
    kind = str(processor_of(name)["image_processor_type"])
    settings = {key: value for key, value in processor_of(name).items() if key != "image_processor_type"}
    return PictureReference(model=model, processor=getattr(transformers, kind)(**settings))


def write_folder(folder: Path, name: str, reference: PictureReference) -> None:
    """A model folder: weights as transformers saves them, configs, a tokenizer whose words are numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    reference.model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[name], indent=2) + "\n")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_of(name), indent=2) + "\n")
    if name in {"pixtral", "mistral3"}:
        (folder / "processor_config.json").write_text(json.dumps(MARKS) + "\n")
    tokenizer = json.loads(number_tokenizer(VOCABULARY))
    tokenizer["added_tokens"] = [_special(number, text) for number, text in SPECIAL.items()]
    for number, text in SPECIAL.items():
        tokenizer["model"]["vocab"] = {(text if id == number else word): id for word, id in tokenizer["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")


def draw_prompts(folder: Path, seed: int) -> list[tuple[list[int], list[np.ndarray], list[tuple[int, int]]]]:
    """(ids, pixels, spans) for each of `SIZES`."""
    facts = read_vision_facts(folder)
    if facts is None:
        raise ValueError(f"{folder}: no vision facts")
    source, noise = random.Random(seed), np.random.default_rng(seed)
    drawn: list[tuple[list[int], list[np.ndarray], list[tuple[int, int]]]] = []
    for sizes in SIZES:
        ids = [source.randrange(3, 110) for _ in range(7)]
        pixels: list[np.ndarray] = []
        spans: list[tuple[int, int]] = []
        for wanted in sizes:
            width, height = wanted if facts.pattern.count is None else (24, 24)
            pixels.append(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
            tokens = expansion(facts, width, height)
            spans.append((len(ids), len(tokens)))
            ids += [*tokens, *(source.randrange(3, 110) for _ in range(source.randrange(3, 9)))]
        drawn.append((ids, pixels, spans))
    return drawn


def record(name: str) -> None:
    """Write `tests/data/golden_pictures/<name>`; weights are drawn again until rounding cannot decide a greedy choice."""
    folder = PICTURE_GOLDEN / name
    for attempt in range(MOST_DRAWS):
        seed = zlib.crc32(name.encode()) + attempt
        reference = build_reference(name, seed=seed)
        write_folder(folder, name, reference)
        prompts = draw_prompts(folder, seed)
        if max(reference.noise(ids, pixels) for ids, pixels, _ in prompts) > TOLERANCE / 3:
            continue
        with suppress(ValueError):
            greedy = [reference.greedy(ids, pixels) for ids, pixels, _ in prompts]
            break
    else:
        raise ValueError(f"{name}: rounding decides in each of {MOST_DRAWS!r} draws of the weights: change the configuration.")
    _save(folder, reference, prompts, greedy)
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > MOST_BYTES:
        raise ValueError(f"{folder} has {size!r} bytes, more than the {MOST_BYTES!r} that a golden may have: shrink its configuration.")
    print(f"{name}: {size} bytes, {[len(ids) for ids, _, _ in prompts]} tokens, greedy {greedy}")


def _save(folder: Path, reference: PictureReference, prompts: Sequence[Any], greedy: Sequence[Sequence[int]]) -> None:
    torch = importlib.import_module("torch")
    arrays: dict[str, Any] = {}
    for index, (ids, pixels, _) in enumerate(prompts):
        arrays[f"logits{index}"] = reference.logits(ids, pixels).contiguous()
        arrays |= {f"pixels{index}_{number}": torch.from_numpy(each.copy()) for number, each in enumerate(pixels)}
    importlib.import_module("safetensors.torch").save_file(arrays, folder / "golden.safetensors")
    facts = [{"ids": ids, "spans": spans, "greedy": best} for (ids, _, spans), best in zip(prompts, greedy, strict=True)]
    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in ("torch", "transformers"))
    (folder / "golden.json").write_text(json.dumps({"recorded_with": versions, "prompts": facts}) + "\n")


def _image(pixels: np.ndarray) -> Any:
    return importlib.import_module("PIL.Image").fromarray(pixels)


def _special(number: int, text: str) -> Mapping[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **flags}


if __name__ == "__main__":
    for chosen in sys.argv[1:] or PICTURE_NAMES:
        record(chosen)
