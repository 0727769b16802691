"""The local cache of Hugging Face, read through its own library so that HF_HOME and HF_HUB_CACHE hold."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from pomona.core.errors import ModelUnusable

PATTERNS = ("*.json", "model*.safetensors", "tokenizer.model", "*.tiktoken", "tiktoken.model", "*.txt", "*.jinja")
"""Files that serving needs. A snapshot may lack others."""


def find_snapshot(repository: str, revision: str | None, cache: Path | None = None) -> Path | None:
    """The newest local snapshot, or that of a branch, tag or commit; None if there is none. Never asks the network.

    Raises ModelUnusable where the download did not finish.
    """
    snapshot_download = cast("Callable[..., str]", importlib.import_module("huggingface_hub").snapshot_download)
    from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        found = snapshot_download(repository, revision=revision, cache_dir=cache, local_files_only=True, allow_patterns=list(PATTERNS))
    except IncompleteSnapshotError as error:
        raise ModelUnusable(
            f"The download of {repository!r} did not finish: files are missing in {error.snapshot_path}. "
            f"Run `hf download {repository}` again; it goes on where it stopped."
        ) from None
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(found)


def cached_repositories(cache: Path | None = None) -> list[str]:
    """Names of the model repositories in the cache, sorted."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = cache or Path(HF_HUB_CACHE)
    if not folder.is_dir():
        return []
    return sorted(child.name.removeprefix("models--").replace("--", "/", 1) for child in folder.glob("models--*") if child.is_dir())
