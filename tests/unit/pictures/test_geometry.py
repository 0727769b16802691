"""Sizes and token patterns. The expected numbers are those of the image processors and processors of transformers 5.23."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pomona.core.errors import ModelUnusable, PictureRefused
from pomona.pictures.geometry.facts import VisionFacts, expansion, fit, target_size
from pomona.pictures.geometry.reading import read_vision_facts

Json = Mapping[str, object]
Make = Callable[..., VisionFacts]
QWEN = {"model_type": "qwen2_5_vl", "image_token_id": 7, "vision_config": {"patch_size": 14, "spatial_merge_size": 2}}
GEMMA = {
    "model_type": "gemma3",
    "image_token_index": 9,
    "boi_token_index": 7,
    "eoi_token_index": 8,
    "mm_tokens_per_image": 4,
    "vision_config": {"patch_size": 14, "image_size": 56},
}
LLAVA = {"model_type": "llava", "image_token_index": 7, "vision_config": {"model_type": "clip_vision_model", "patch_size": 14}}
PIXTRAL = {"model_type": "llava", "image_token_index": 7, "vision_config": {"model_type": "pixtral", "patch_size": 16}}
TOKENS = {7: "[IMG]", 8: "[IMG_BREAK]", 9: "[IMG_END]"}


@pytest.fixture
def facts_of(tmp_path: Path) -> Make:
    def make(
        config: Json, pictures: Json | None = None, *, processor: Json | None = None, tokens: Mapping[int, str] = TOKENS
    ) -> VisionFacts:
        files = {"config": config, "preprocessor_config": pictures, "processor_config": processor}
        files["tokenizer"] = {"added_tokens": [{"id": number, "content": text} for number, text in tokens.items()]}
        for name, content in files.items():
            if content is not None:
                (tmp_path / f"{name}.json").write_text(json.dumps(content))
        facts = read_vision_facts(tmp_path)
        assert facts is not None
        return facts

    return make


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), (644, 476)), ((30, 500), (28, 504)), ((5, 7), (56, 84)), ((3000, 2000), (1204, 812)), ((20, 3900), (28, 3892))],
)
def test_qwen_keeps_the_shape_within_bounds_of_area(facts_of: Make, size: tuple[int, int], expected: tuple[int, int]) -> None:
    facts = facts_of(QWEN, {"image_processor_type": "Qwen2VLImageProcessor"})
    assert target_size(facts, *size) == expected
    assert expansion(facts, *expected) == (7,) * (expected[0] // 28 * (expected[1] // 28))


def test_qwen_takes_its_bounds_from_the_folder(facts_of: Make) -> None:
    facts = facts_of(QWEN, {"min_pixels": 100_000, "max_pixels": 120_000})
    assert target_size(facts, 100, 100) == (336, 336)
    assert target_size(facts, 1000, 1000) == (336, 336)
    nested = facts_of(QWEN, processor={"image_processor": {"size": {"shortest_edge": 4096, "longest_edge": 65536}, "patch_size": 16}})
    assert target_size(nested, 1000, 1000) == (256, 256)


def test_a_sliver_is_refused_with_the_reason(facts_of: Make) -> None:
    with pytest.raises(PictureRefused, match=r"4001 x 20 pixels is too narrow.*200 times"):
        target_size(facts_of(QWEN), 4001, 20)


def test_low_detail_asks_for_fewer_pixels_where_sizes_are_free(facts_of: Make) -> None:
    assert target_size(facts_of(QWEN), 1000, 1000, "low") == (504, 504)
    assert target_size(facts_of(PIXTRAL), 1000, 500, "low") == (512, 256)
    assert target_size(facts_of(GEMMA), 1000, 500, "low") == (56, 56)


def test_gemma_puts_a_fixed_number_of_features_between_marks_and_blank_lines_around(facts_of: Make) -> None:
    facts = facts_of(GEMMA, tokens={7: "<start_of_image>"})
    assert target_size(facts, 1000, 10) == (56, 56)
    assert expansion(facts, 56, 56) == (7, 9, 9, 9, 9, 8)
    assert (facts.placeholder, facts.placeholder_id, facts.token_id) == ("<start_of_image>", 7, 9)
    assert facts.surrounded == "\n\n<start_of_image>\n\n"
    assert (facts.resample, facts.mean) == ("bilinear", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("size", "resized", "crop"),
    [((100, 200), (84, 168), (7, 49, 77, 119)), ((301, 200), (126, 84), (28, 7, 98, 77)), ((9, 9), (84, 84), (7, 7, 77, 77))],
)
def test_llava_with_clip_cuts_the_middle_out(
    facts_of: Make, size: tuple[int, int], resized: tuple[int, int], crop: tuple[int, int, int, int]
) -> None:
    facts = facts_of(LLAVA, {"size": {"shortest_edge": 84}, "crop_size": {"height": 70, "width": 70}})
    found = fit(facts, *size)
    assert (found.resized, found.crop, found.pad_color) == (resized, crop, None)
    assert (found.width, found.height) == (70, 70)
    assert expansion(facts, 70, 70) == (7,) * 25


def test_llava_may_pad_to_a_square_instead(facts_of: Make) -> None:
    facts = facts_of(LLAVA, {"image_processor_type": "LlavaImageProcessor", "do_pad": True, "size": {"shortest_edge": 84}, "crop_size": 84})
    found = fit(facts, 100, 200)
    assert (found.resized, found.crop, found.pad_color) == ((84, 84), None, (122, 116, 104))
    assert fit(facts, 100, 100).pad_color is None


def test_llava_with_siglip_has_no_class_token(facts_of: Make) -> None:
    config = {**LLAVA, "vision_feature_select_strategy": "full", "vision_config": {"model_type": "siglip_vision_model", "patch_size": 14}}
    facts = facts_of(config, {"image_processor_type": "SiglipImageProcessor", "size": {"height": 84, "width": 84}})
    assert target_size(facts, 300, 20) == (84, 84)
    assert expansion(facts, 84, 84) == (7,) * 36
    assert facts.mean == (0.5, 0.5, 0.5)


def test_pixtral_ends_each_row_of_patches(facts_of: Make) -> None:
    facts = facts_of(PIXTRAL, {"size": {"longest_edge": 64}})
    assert target_size(facts, 100, 33) == (64, 32)
    assert expansion(facts, 48, 32) == (7, 7, 7, 8, 7, 7, 7, 9)
    assert target_size(facts, 17, 3) == (32, 16)


def test_mistral3_merges_patches(facts_of: Make) -> None:
    config = {**PIXTRAL, "model_type": "mistral3", "spatial_merge_size": 2, "vision_config": {"model_type": "pixtral", "patch_size": 14}}
    facts = facts_of(config, {"size": {"longest_edge": 1540}})
    assert target_size(facts, 100, 50) == (112, 56)
    assert expansion(facts, 112, 56) == (7, 7, 7, 7, 8, 7, 7, 7, 7, 9)


def test_models_without_a_known_vision_part_have_no_facts(tmp_path: Path) -> None:
    configs: list[Json] = [{"model_type": "llama"}, {"model_type": "gemma3"}, {"model_type": "fuyu", "vision_config": {}}]
    for config in configs:
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_vision_facts(tmp_path) is None


@pytest.mark.parametrize(
    ("config", "tokens", "words"),
    [
        ({**QWEN, "image_token_id": None}, TOKENS, "'image_token_id' is missing"),
        (PIXTRAL, {7: "[IMG]"}, r"no token '\[IMG_BREAK\]'"),
        ({**GEMMA, "eoi_token_index": None}, TOKENS, "'eoi_token_index' is missing"),
    ],
)
def test_what_is_missing_is_named(facts_of: Make, config: Json, tokens: Mapping[int, str], words: str) -> None:
    with pytest.raises(ModelUnusable, match=words):
        facts_of(config, tokens=tokens)
