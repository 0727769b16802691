"""What a reference means to the hub, and what a converted copy is called here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from pomona.core.errors import InvalidRequest
from pomona.core.hub import REFERENCE_PATTERN, Quantization

RECORD = "pomona.json"
"""The file in a converted model's folder that says what it was made from."""
_REFERENCE = re.compile(REFERENCE_PATTERN)
_SHARD = re.compile(r"-\d+-of-\d+$")
_UNUSUAL = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`ORGANISATION/NAME`, `ORGANISATION/NAME/FILE.gguf`, each with `@REVISION` or without."""

    repository: str
    revision: str | None = None
    file: str | None = None
    """A GGUF file, the first one of several that belong together."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidRequest where the text is not of that form."""
        plain = text.strip().removeprefix("https://huggingface.co/").removeprefix("hf.co/").rstrip("/")
        if not _REFERENCE.fullmatch(plain) or ".." in plain:
            raise InvalidRequest(
                f"{text!r} does not name a repository of the hub. Write ORGANISATION/NAME, ORGANISATION/NAME@REVISION or "
                "ORGANISATION/NAME/FILE.gguf; `pomona search WORDS` finds some.",
                param="model",
            )
        place, _, revision = plain.partition("@")
        organisation, name, *file = place.split("/", 2)
        return cls(repository=f"{organisation}/{name}", revision=revision or None, file=file[0] if file else None)

    @property
    def reference(self) -> str:
        """The same, in one way of writing."""
        return self.repository + (f"/{self.file}" if self.file else "") + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a converted model was made from."""

    repository: str
    commit: str
    quantize: Quantization | None = None
    gguf: str | None = None


def converted_folder(place: Path, wanted: Wanted, quantize: Quantization | None) -> Path:
    """Where the copy goes: NAME-4bit below `place`, or ORGANISATION-NAME-4bit where that is of another organisation."""
    organisation, _, name = wanted.repository.partition("/")
    if wanted.file:
        name = _SHARD.sub("", Path(wanted.file).stem)
    if wanted.revision:
        name = f"{name}-{wanted.revision[:12]}"
    name = _UNUSUAL.sub("-", f"{name}-{quantize}" if quantize else name)
    short = place / name
    origin = origin_of(short)
    mine = not short.exists() or (origin is not None and origin.repository == wanted.repository and origin.gguf == wanted.file)
    return short if mine else place / f"{organisation}-{name}"


def origin_of(folder: Path) -> Origin | None:
    """What the model in `folder` was made from; None where nobody wrote it down."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Origin)
    except (OSError, msgspec.MsgspecError):
        return None


def write_origin(folder: Path, origin: Origin) -> None:
    """Write it down. Raises OSError."""
    (folder / RECORD).write_bytes(msgspec.json.encode(origin))


def describe_origin(origin: Origin) -> Mapping[str, object]:
    """As plain data."""
    return {"repository": origin.repository, "commit": origin.commit, "quantize": origin.quantize, "gguf": origin.gguf}
