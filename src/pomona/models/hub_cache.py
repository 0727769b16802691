"""The local cache of Hugging Face, read through its own library so that HF_HOME and HF_HUB_CACHE hold."""

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, cast

from pomona.core.errors import ModelUnusable

PATTERNS = ("*.json", "model*.safetensors", "tokenizer.model*", "*.tiktoken", "tiktoken.model", "*.spm", "spiece.model", "*.bpe.model",
            "*.txt", "*.jinja", "[0-9]_*/*.json", "[0-9]_*/model.safetensors")  # fmt: skip
"""Files that serving needs. A snapshot may lack others. Numbered folders are the later modules of sentence-transformers."""
ADAPTER_PATTERNS = ("*.json", "adapter*.safetensors")
WEIGHTS = "model*.safetensors"
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class _RepoFile(Protocol):
    path: str


def needed_files(names: Iterable[str]) -> list[str]:
    """Those of a repository's files that serving needs: configuration, tokenizer, and of several sets of weights the one to load.

    Never pickles, nor what other programs read (`onnx/`, `original/`, `consolidated*`). Empty where there are no safetensors.
    """
    held = list(names)
    if any(_matches(name, ("adapter*.safetensors",)) for name in held) and not any(_matches(name, (WEIGHTS,)) for name in held):
        return sorted(name for name in held if _matches(name, ADAPTER_PATTERNS))
    weights = _choose_weights([name for name in held if _matches(name, (WEIGHTS,))])
    others = [name for name in held if _matches(name, PATTERNS) and not _matches(name, (WEIGHTS,))]
    return sorted({*weights, *others}) if weights else []


def _choose_weights(found: Sequence[str]) -> list[str]:
    """mlx-lm loads every `model*.safetensors`, so only one complete set may lie there: shards, else model.safetensors, else the first."""
    shards = [name for name in found if _SHARD.search(name)]
    stems = sorted({_SHARD.sub("", name) for name in shards}, key=lambda stem: (stem != "model", stem))
    if stems:
        return [name for name in shards if _SHARD.sub("", name) == stems[0]]
    return ["model.safetensors"] if "model.safetensors" in found else sorted(found)[:1]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether `name` matches; a pattern without a folder means files at the top."""
    return any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def find_snapshot(repository: str, revision: str | None, cache: Path | None = None) -> Path | None:
    """The newest local snapshot, or that of a branch, tag or commit; None if there is none. Never asks the network.

    Raises ModelUnusable where the download did not finish.
    """
    folder = _snapshot_folder(repository, revision, cache)
    if folder is None:
        return None
    listed = _listed_files(repository, folder.name, cache)
    missing = [name for name in needed_files(listed) if not (folder / name).is_file()]
    if missing or not folder.is_dir():
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        what = f"{', '.join(missing[:3])}{more} missing" if missing else "nothing is there yet"
        raise ModelUnusable(
            f"The download of {repository!r} did not finish: {what} in {str(folder)!r}. "
            f"Run `pomona pull {repository}{f'@{revision}' if revision else ''}`; it goes on where it stopped."
        )
    return folder


def looks_like_model(repository: str, cache: Path | None = None) -> bool:
    """Whether the listing of an unfinished download holds a configuration and weights that could be served."""
    folder = _snapshot_folder(repository, None, cache)
    listed = _listed_files(repository, folder.name, cache) if folder else []
    return "config.json" in listed and bool(needed_files(listed))


def cached_repositories(cache: Path | None = None) -> list[str]:
    """Names of the model repositories in the cache, sorted."""
    folder = cache_folder(cache)
    if not folder.is_dir():
        return []
    return sorted(child.name.removeprefix("models--").replace("--", "/", 1) for child in folder.glob("models--*") if child.is_dir())


def cache_folder(cache: Path | None = None) -> Path:
    """`cache`, or the library's own choice."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return (cache or Path(HF_HUB_CACHE)).expanduser()


def storage_folder(repository: str, cache: Path | None = None) -> Path:
    """Where the cache keeps a model repository: blobs, snapshots, refs."""
    return cache_folder(cache) / f"models--{repository.replace('/', '--')}"


def _snapshot_folder(repository: str, revision: str | None, cache: Path | None) -> Path | None:
    """The folder of a revision that the cache knows, which need not be there yet."""
    storage = storage_folder(repository, cache)
    wanted = revision or "main"
    if not _COMMIT.fullmatch(wanted):
        reference = storage / "refs" / wanted
        if ".." in Path(wanted).parts or not reference.is_file():
            return None
        wanted = reference.read_text(encoding="utf-8").strip()
    folder = storage / "snapshots" / wanted
    return folder if folder.is_dir() or (storage / "trees" / f"{wanted}.json").is_file() else None


def _listed_files(repository: str, commit: str, cache: Path | None) -> list[str]:
    """The files of a commit, if the cache has its listing; else none, and nobody can tell what is missing."""
    get_tree = cast("Callable[..., list[_RepoFile]]", importlib.import_module("huggingface_hub").get_cached_repo_tree)
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError

    try:
        return [file.path for file in get_tree(repository, revision=commit, cache_dir=cache)]
    except (CachedRepoTreeNotFoundError, HFValidationError):
        return []
