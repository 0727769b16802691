"""What is wrong with an adapter is said by name before anything is loaded."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from pomona.core.errors import AdapterUnusable
from pomona.engine.adapters.sites import describe_layer, find_layers
from pomona.models.adapters.placing import place
from pomona.models.adapters.reading import is_adapter, read_adapter
from tests.adapter_folders import ALL_LINEAR, ATTENTION, EXPERTS, change_weights, write_mlx_lm, write_peft
from tests.engine.harness import family
from tests.unit.models.folders import change_json

CONFIG, OURS, THEIRS = "adapter_config.json", "adapters.safetensors", "adapter_model.safetensors"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write_mlx_lm(tmp_path / "pirate", family("llama").module)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return write_peft(tmp_path / "pirate", family("llama").module)


def test_facts_of_both_layouts(tmp_path: Path) -> None:
    module = family("llama").module
    one = read_adapter(write_mlx_lm(tmp_path / "one", module, keys=ALL_LINEAR, rank=3, dora=True))
    two = read_adapter(write_peft(tmp_path / "two", module, rank=5))
    assert (one.layout, one.dora, one.rank, one.base, len(one.parts)) == ("mlx-lm", True, 3, "somebody/tiny", 21)
    assert (two.layout, two.dora, two.rank, two.base, two.targets) == ("peft", False, 5, "somebody/tiny", ("q_proj", "v_proj"))
    assert one.fingerprint != two.fingerprint
    assert is_adapter(tmp_path / "one")
    assert not is_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, "method that cannot be served: 'IA3'"),
        ({"modules_to_save": ["lm_head"]}, r"whole layers of its own \(modules_to_save=\['lm_head'\]\)"),
        ({"bias": "all"}, r"changes biases of the model \(bias='all'\)"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the model itself"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"r": 7}, "no pair of rank 7"),
        ({"r": "four"}, "must give r as a number; it says 'four'"),
        ({"rank_pattern": {"q_proj(": 4}}, "rank_pattern that is no regular expression"),
    ],
)
def test_what_peft_can_do_and_pomona_cannot_is_refused_with_the_reason(theirs: Path, changes: dict[str, Any], reason: str) -> None:
    change_json(theirs / CONFIG, **changes)
    with pytest.raises(AdapterUnusable, match=f"pirate.*{reason}"):
        read_adapter(theirs)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fine_tune_type": "full"}, "a full fine-tune, whose weights replace the model's"),
        ({"fine_tune_type": "soft"}, "fine_tune_type 'soft'; allowed are lora, dora"),
        ({"lora_parameters": {"rank": 4}}, r"lora_parameters\.scale"),
        ({"lora_parameters": {"rank": 5, "scale": 1.0}}, "no pair of rank 5"),
        ({"lora_parameters": {"rank": 4, "scale": float("nan")}}, "must give scale as a number; it says nan"),
    ],
)
def test_configurations_of_mlx_lm_that_are_no_adapters_are_refused(ours: Path, changes: dict[str, Any], reason: str) -> None:
    change_json(ours / CONFIG, **changes)
    with pytest.raises(AdapterUnusable, match=f"pirate.*{reason}"):
        read_adapter(ours)


def test_files_that_are_missing_or_damaged_are_named(ours: Path) -> None:
    weights = ours / OURS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(AdapterUnusable, match=rf"{OURS}.*is truncated"):
        read_adapter(ours)
    weights.rename(ours / "adapters.npz")
    with pytest.raises(AdapterUnusable, match=r"adapters\.npz can run code when read"):
        read_adapter(ours)
    (ours / "adapters.npz").unlink()
    with pytest.raises(AdapterUnusable, match="give the folder into which the adapter was saved"):
        read_adapter(ours)
    (ours / CONFIG).write_text("{")
    with pytest.raises(AdapterUnusable, match=rf"{CONFIG}.*cannot be read as JSON"):
        read_adapter(ours)
    (ours / CONFIG).unlink()
    with pytest.raises(AdapterUnusable, match=rf"has no {CONFIG}"):
        read_adapter(ours)
    with pytest.raises(AdapterUnusable, match=r"There is no adapter folder '.*nowhere'"):
        read_adapter(ours / "nowhere")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("model.layers.0.self_attn.q_proj.lora_c", mx.zeros((4, 4)), r"lora_c', which is no part of a LoRA adapter"),
        ("model.layers.0.mlp.up_proj.lora_a", mx.zeros((48, 4)), r"lacks 'model\.layers\.0\.mlp\.up_proj\.lora_b'"),
        ("model.layers.0.self_attn.q_proj.lora_b", mx.zeros((5, 64)), "no pair of rank 4"),
        ("model.layers.0.self_attn.q_proj.lora_a", mx.zeros((48, 4), dtype=mx.int32), r"of type I32; allowed are F16, BF16, F32"),
    ],
)
def test_tensors_that_make_no_adapter_are_named(ours: Path, name: str, value: mx.array, reason: str) -> None:
    change_weights(ours, {name: value})
    with pytest.raises(AdapterUnusable, match=reason):
        read_adapter(ours)


@pytest.mark.parametrize(
    ("made_for", "keys", "asked", "reason"),
    [
        (
            "llama",
            ATTENTION,
            "qwen3_next",
            r"'model\.layers\.0\.self_attn\.\w_proj', which llm does not have\. It has 'model\.layers\.1\.self_attn",
        ),
        (
            "qwen3_moe",
            EXPERTS,
            "llama",
            r"switch_mlp\.\w+', which llm does not have\. It has 'model\.layers\.0\.mlp\.down_proj'",
        ),
        ("llama", ("mlp.up_proj",), "falcon_h1", r"mlp\.up_proj.*which llm does not have"),
        ("qwen3", ("lm_head",), "llama", "which llm does not have"),
        ("llama", ("mlp.down_proj",), "gemma3", None),
    ],
)
def test_an_adapter_for_another_model_is_refused(
    made_for: str, keys: tuple[str, ...], asked: str, reason: str | None, tmp_path: Path
) -> None:
    facts = read_adapter(write_mlx_lm(tmp_path / "pirate", family(made_for).module, keys=keys))
    sites = {name: describe_layer(layer) for name, layer in find_layers(family(asked).module).items()}
    if reason is None:
        assert len(place(facts, sites, "llm")) == 3
        return
    with pytest.raises(AdapterUnusable, match=rf"'pirate' does not fit.*{reason}.*It was made for 'somebody/tiny'"):
        place(facts, sites, "llm")


def test_names_of_other_prefixes_find_their_layers(tmp_path: Path) -> None:
    module = family("llama").module
    facts = read_adapter(write_peft(tmp_path / "a", module))
    sites = {name: describe_layer(layer) for name, layer in find_layers(module).items()}
    elsewhere = {f"language_model.{name}": site for name, site in sites.items()}
    assert sorted(place(facts, elsewhere, "llm")) == sorted(f"language_model.{name}" for name in place(facts, sites, "llm"))
    with_pictures = {**elsewhere, **{f"vision_tower.{name}": site for name, site in sites.items()}}
    assert sorted(place(facts, with_pictures, "llm")) == sorted(place(facts, elsewhere, "llm"))
