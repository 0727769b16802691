import subprocess
import sys
from pathlib import Path

from pomona.core.settings import ModelsSettings
from pomona.models.catalog import describe, list_models
from pomona.models.references import bundled_folder
from tests.unit.models.folders import ROOT, STORIES, WEIGHTS, change_json, copy_stories, hub_snapshot


def test_lists_every_name_once_with_its_facts(tmp_path: Path) -> None:
    copy_stories(tmp_path / "models" / "stories")
    hub_snapshot(tmp_path / "hub", "karpathy/stories260K")
    hub_snapshot(tmp_path / "hub", "org/aliased")
    settings = ModelsSettings(aliases={"chat": "pomona-tiny", "org/aliased": "org/aliased"}, folders=(tmp_path / "models",))
    found = {entry.id: entry for entry in list_models(settings, hub_cache=tmp_path / "hub")}
    assert [(entry.id, entry.kind, entry.alias_of) for entry in found.values()] == [
        ("chat", "bundled", "pomona-tiny"),
        ("org/aliased", "hub", None),
        ("pomona-tiny", "bundled", None),
        ("stories", "folder", None),
        ("karpathy/stories260K", "hub", None),
    ]
    assert all(entry.problem is None and entry.facts and entry.created > 0 for entry in found.values())


def test_facts_of_the_bundled_model(tmp_path: Path) -> None:
    facts = describe("pomona-tiny", ModelsSettings(), hub_cache=tmp_path).facts
    assert facts is not None
    assert (facts.model_type, facts.architecture, facts.dtype) == ("llama", "LlamaForCausalLM", "BF16")
    assert facts.quantization == "8-bit affine, groups of 64"
    assert facts.parameters == 18_145_152  # as the card says of the weights before they were quantised
    assert (facts.max_context, facts.vocabulary, facts.has_chat_template) == (4096, 8192, True)
    assert set(facts.eos_token_ids) == {8183, 8185}
    assert facts.weight_bytes < (bundled_folder() / WEIGHTS).stat().st_size


def test_facts_of_a_plain_model() -> None:
    facts = describe(str(STORIES), ModelsSettings()).facts
    assert facts is not None
    assert (facts.quantization, facts.dtype, facts.has_chat_template) == (None, "F32", False)
    assert (facts.max_context, facts.vocabulary, facts.eos_token_ids) == (512, 512, (2,))
    assert facts.parameters * 4 == facts.weight_bytes


def test_broken_models_are_listed_with_the_reason(tmp_path: Path) -> None:
    folder = copy_stories(tmp_path / "models" / "broken")
    (folder / WEIGHTS).unlink()
    settings = ModelsSettings(aliases={"gone": "nowhere", "round": "round-again", "round-again": "round"}, folders=(tmp_path / "models",))
    found = {entry.id: entry.problem or "" for entry in list_models(settings, hub_cache=tmp_path / "hub")}
    assert "'nowhere'" in found["gone"]
    assert "circle" in found["round"]
    assert str(folder) in found["broken"]


def test_repositories_that_are_no_language_models_are_left_out(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path / "hub", "org/vision")
    change_json(snapshot / "config.json", model_type="vit")
    assert [entry.id for entry in list_models(ModelsSettings(), hub_cache=tmp_path / "hub")] == ["pomona-tiny"]


def test_listing_does_not_import_mlx() -> None:
    code = (
        "import sys; from pomona.core.settings import ModelsSettings; from pomona.models.catalog import list_models; "
        "assert list_models(ModelsSettings())[0].facts; assert not [m for m in sys.modules if m.split('.')[0] in ('mlx', 'mlx_lm')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "src")})
