"""`pull`, `search`, `show`, `alias` and `remove`, against a hub on this machine."""

import json
import os
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
from click.testing import Result

from pomona.cli.models.progress import PlainLines
from pomona.control.keys import KeyRing, make_key
from pomona.hub.pulling import Progress
from pomona.models.references import bundled_folder
from tests.adapter_folders import ALL_LINEAR, write_mlx_lm
from tests.api.gateway import STATUSES, Gateway, running
from tests.cli.conftest import Pomona, PomonaProcess
from tests.engine.harness import family
from tests.hub.server import FakeHub, serving

STORIES = Path(__file__).parents[1] / "data" / "stories260K"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeHub]:
    """A hub with two models, and a library that may ask it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "cache"))
    with serving(FakeHub()) as served:
        served.add_folder("acme/tiny", STORIES)
        served.add("acme/old", {"config.json": b'{"model_type": "llama"}', "pytorch_model.bin": b"p"}, tags=())
        monkeypatch.setenv("POMONA_HUB__ENDPOINT", served.url)
        yield served


def succeeded(result: Result) -> str:
    """What it printed."""
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_model_is_pulled_named_and_listed(pomona: Pomona, hub: FakeHub) -> None:
    result = pomona("pull", "acme/tiny", "--as", "small")
    assert "small is here. Try: pomona chat -m small" in succeeded(result)
    assert "Downloading acme/tiny: 1.0 MiB of 1.0 MiB 100%" in result.stderr
    listed = {entry["id"]: entry for entry in json.loads(succeeded(pomona("list", "--json")))}
    assert (listed["acme/tiny"]["kind"], listed["small"]["alias_of"]) == ("hub", "acme/tiny")
    assert json.loads(succeeded(pomona("pull", "acme/tiny", "--json"))) == {
        "reference": "acme/tiny",
        "model": "acme/tiny",
        "name": "acme/tiny",
    }
    del hub


def test_what_a_pull_would_take(pomona: Pomona, hub: FakeHub) -> None:
    text = succeeded(pomona("pull", "acme/tiny", "--quantize", "4bit", "--dry-run"))
    assert "converted copy" in text
    assert "4bit fits" in text
    plan = json.loads(succeeded(pomona("pull", "acme/tiny", "--dry-run", "--json")))
    assert plan["fit"]["as stored"] == "fits"
    assert hub.downloads("model.safetensors") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("pull", "acme/tinny"), 66, "Did you mean 'acme/tiny'"),
        (("pull", "acme/old"), 65, "such files can run code"),
        (("pull", "tiny"), 65, "ORGANISATION/NAME"),
        (("pull", "acme/tiny", "--set", "residency.memory_bytes=1048576"), 71, "--force"),
        (("pull", "acme/tiny", "--set", "hub.offline=true"), 69, "offline"),
        (("search", "x", "--set", "hub.offline=true"), 69, "offline"),
        (("search", "x", "--sort", "name"), 2, "downloads"),
        (("show", "acme/tinny"), 66, "Did you mean"),
        (("alias", "small", "acme/absent"), 66, "acme/absent"),
        (("alias", "small"), 66, "no alias 'small'"),
        (("alias", "--remove"), 2, "Name the alias"),
        (("remove", "pomona-tiny", "--yes"), 1, "comes with Pomona"),
        (("remove", "acme/tiny", "--yes"), 66, "to remove"),
    ],
)
def test_what_goes_wrong_is_told(pomona: Pomona, hub: FakeHub, arguments: tuple[str, ...], code: int, words: str) -> None:
    result = pomona(*arguments)
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    del hub


def test_gated_models_need_a_token(pomona: Pomona, hub: FakeHub) -> None:
    hub.repos["acme/tiny"].gated = True
    result = pomona("pull", "acme/tiny")
    assert result.exit_code == 77
    assert f"Accept its terms at {hub.url}/acme/tiny" in result.stderr


def test_an_adapter_is_pulled(pomona: Pomona, hub: FakeHub) -> None:
    hub.add_folder("acme/legal", Path(__file__).parents[1] / "data" / "adapters" / "lora")
    assert "Try: pomona chat -m MODEL+acme/legal" in succeeded(pomona("pull", "acme/legal"))


def test_search_says_what_fits(pomona: Pomona, hub: FakeHub) -> None:
    lines = succeeded(pomona("search", "acme")).splitlines()
    assert [line.split()[:2] for line in lines] == [["model", "fits"], ["acme/tiny", "fits"]]
    assert len(json.loads(succeeded(pomona("search", "acme", "--all", "--json")))) == 2
    assert "--all looks beyond" in pomona("search", "zzz").stderr
    del hub


def test_a_model_of_the_hub_is_shown_with_what_fits(pomona: Pomona, hub: FakeHub) -> None:
    text = succeeded(pomona("show", "acme/tiny"))
    for words in ("on the hub, not on this machine", "as stored fits", "4bit fits", "pomona pull acme/tiny"):
        assert words in text
    pomona("pull", "acme/tiny")
    assert "Hugging Face cache" in succeeded(pomona("show", "acme/tiny"))
    assert json.loads(succeeded(pomona("show", "acme/tiny", "--remote", "--json")))["download_bytes"] == 0
    del hub


def test_aliases(pomona: Pomona, hub: FakeHub) -> None:
    assert succeeded(pomona("alias", "me", "pomona-tiny")).splitlines()[1].split() == ["me", "pomona-tiny"]
    assert json.loads(succeeded(pomona("alias", "--json"))) == {"me": "pomona-tiny"}
    assert "pomona-tiny" in succeeded(pomona("show", "me"))
    succeeded(pomona("alias", "--remove", "me"))
    assert json.loads(succeeded(pomona("alias", "--json"))) == {}
    del hub


def test_removing_asks_and_says_what_it_frees(pomona: Pomona, hub: FakeHub, home: Path) -> None:
    pomona("pull", "acme/tiny")
    assert "Would free 1.0 MiB" in succeeded(pomona("remove", "acme/tiny", "--dry-run"))
    asked = pomona("remove", "acme/tiny")
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr
    assert (home / "cache" / "models--acme--tiny").is_dir()
    assert json.loads(succeeded(pomona("remove", "acme/tiny", "--yes", "--json")))["freed_bytes"] > 10**6
    assert not (home / "cache" / "models--acme--tiny").exists()
    del hub


def test_names_complete(pomona_process: PomonaProcess, pomona: Pomona, hub: FakeHub, home: Path) -> None:
    pomona("pull", "acme/tiny", "--as", "agreeable")
    for words in ("pomona show a", "pomona chat -m a", "pomona remove a"):
        environment = {"_POMONA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        found = pomona_process(environment={**environment, "HF_HUB_CACHE": str(home / "cache")})
        assert {"plain,agreeable", "plain,acme/tiny"} <= set(found.stdout.split()), found
    del hub


def test_pulled_and_asked(pomona_process: PomonaProcess, hub: FakeHub, home: Path) -> None:
    hub.add_folder("acme/writer", bundled_folder())
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "0"}
    os.environ.pop("POMONA_HUB__ENDPOINT")
    assert pomona_process("pull", "acme/writer", environment=environment).returncode == 0
    answer = pomona_process("generate", "-m", "acme/writer", "--max-tokens", "5", "Hello", environment=environment)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def test_a_gguf_file_and_a_smaller_copy_are_made_listed_and_asked(pomona: Pomona, hub: FakeHub) -> None:
    """By the real converter, in its own process, and answered by an engine in another."""
    hub.add("acme/files", {"llama.gguf": (STORIES.parent / "gguf" / "llama.gguf").read_bytes()})
    assert "llama is here. Try: pomona chat -m llama" in succeeded(pomona("pull", "acme/files/llama.gguf"))
    assert "smaller is here" in succeeded(pomona("pull", "acme/tiny", "--quantize", "4bit", "--as", "smaller"))
    listed = {entry["id"]: entry for entry in json.loads(succeeded(pomona("list", "--json")))}
    assert (listed["llama"]["architecture"], listed["llama"]["kind"], listed["llama"]["problem"]) == ("LlamaForCausalLM", "folder", None)
    assert listed["tiny-4bit"]["quantization"].startswith("4-bit affine")
    assert listed["tiny-4bit"]["weight_bytes"] < listed["acme/tiny"]["weight_bytes"] / 2
    assert listed["smaller"]["alias_of"] == "tiny-4bit"
    assert say(pomona, "llama", 1, "42").isdigit()  # its words are numbers
    assert say(pomona, "smaller", 4)


def test_an_adapter_that_was_pulled_answers_with_the_model_that_was_pulled(pomona: Pomona, hub: FakeHub, tmp_path: Path) -> None:
    hub.add_folder("acme/poet", write_mlx_lm(tmp_path / "poet", family("pomona-tiny").module, keys=ALL_LINEAR))
    hub.add_folder("acme/writer", bundled_folder())
    for name in ("acme/writer", "acme/poet"):
        succeeded(pomona("pull", name))
    succeeded(pomona("alias", "poet", "acme/writer+acme/poet"))
    assert say(pomona, "acme/writer", 12) != say(pomona, "poet", 12)
    assert "adapter of acme/writer" in succeeded(pomona("show", "poet"))


def say(pomona: Pomona, model: str, tokens: int, prompt: str = "Once upon a time") -> str:
    """The most likely words of a model, by an engine of its own."""
    return succeeded(pomona("generate", "--raw", "--alone", "-m", model, "-t", "0", "-n", str(tokens), prompt)).strip()


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 1.0, 6.0, 7.0, 8.0, 9.0])
    lines = PlainLines("acme/tiny", clock=lambda: next(times))
    for done in (0, 50, 60, 61, 100):
        lines.note(Progress(state="downloading", done=done, total=100))
    lines.note(Progress(state="converting", done=0, total=3))
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()] == ["0%", "60%", "100%", "0%"]


def test_what_a_running_server_has_loaded_is_not_removed(pomona: Pomona, hub: FakeHub, gateway: Gateway, home: Path) -> None:
    pomona("pull", "acme/tiny")
    [snapshot] = (home / "cache" / "models--acme--tiny" / "snapshots").iterdir()
    loaded = replace(STATUSES[0], id="tales", path=str(snapshot))
    on_it = replace(STATUSES[2], id="tales+poet", state="ready", parent="tales", path=str(snapshot / "adapter"))
    gateway.residents.models = [replace(STATUSES[1], path=str(home)), loaded, on_it]
    for extra in (("--dry-run",), ("--yes",)):
        refused = pomona("remove", "acme/tiny", *extra, "--url", gateway.urls.admin)
        assert (refused.exit_code, "loaded in the server that runs, as 'tales'. Unload it first" in refused.stderr) == (1, True)
    assert snapshot.is_dir()
    assert "Freed 1.0 MiB" in succeeded(pomona("remove", "acme/tiny", "--yes", "--force", "--url", gateway.urls.admin))
    assert gateway.residents.asked == [("unload", "tales", True)]
    assert not snapshot.exists()
    del hub


def test_a_server_that_does_not_say_what_it_has_is_believed_to_have_it(pomona: Pomona, hub: FakeHub) -> None:
    pomona("pull", "acme/tiny")
    with running(Gateway(keys=KeyRing([make_key("ops", now=0.0, scope="admin")[0]]))) as gateway:
        refused = pomona("remove", "acme/tiny", "--yes", "--url", gateway.urls.admin)
        assert (refused.exit_code, "--api-key" in refused.stderr) == (77, True)
        succeeded(pomona("remove", "acme/tiny", "--yes", "--force", "--url", gateway.urls.admin))
    del hub


def test_without_a_server_nothing_holds_models(pomona: Pomona, hub: FakeHub) -> None:
    pomona("pull", "acme/tiny")
    succeeded(pomona("remove", "acme/tiny", "--yes", "--url", "http://127.0.0.1:9"))
    del hub
