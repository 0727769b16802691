"""From an adapter folder to facts: its files are read and checked without mlx, and without its weights but for their headers."""

from hashlib import blake2b
from pathlib import Path

from pomona.core.errors import AdapterUnusable, ModelUnusable
from pomona.models.adapters import mlx_layout, peft
from pomona.models.adapters.configuration import CONFIG, read_configuration
from pomona.models.adapters.facts import AdapterFacts, refuse
from pomona.models.weights import Tensor, read_header

WEIGHTS = {"peft": "adapter_model.safetensors", "mlx-lm": "adapters.safetensors"}
PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapters.npz", "*.bin", "*.pt", "*.pth", "*.ckpt")
DTYPES = ("F16", "BF16", "F32")


def is_adapter(folder: Path) -> bool:
    """Whether `folder` looks like one, broken or not. A model that was saved with its adapter's config is a model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def read_adapter(folder: Path) -> AdapterFacts:
    """Read and check an adapter folder of PEFT's or mlx-lm's layout. Raises AdapterUnusable naming the file and the reason."""
    if not folder.is_dir():
        raise AdapterUnusable(f"There is no adapter folder {str(folder)!r}. Give the folder that holds {CONFIG}.")
    seen = fingerprint(folder)
    configuration = read_configuration(folder)
    weights = _weights_file(folder)
    layout = "peft" if weights.name == WEIGHTS["peft"] else "mlx-lm"
    reader = peft if layout == "peft" else mlx_layout
    reader.check(folder / CONFIG, configuration)
    tensors = _read_tensors(weights)
    parts = tuple(reader.parts(folder / CONFIG, weights, configuration, tensors))
    if not parts:
        refuse(weights, "holds no LoRA matrices, so it changes nothing. Train it again, or take another adapter.")
    return AdapterFacts(
        path=folder,
        weights=weights,
        layout=layout,
        dora=any(part.magnitude for part in parts),
        rank=max(part.rank for part in parts),
        base=reader.base(configuration),
        parts=parts,
        tensors=tensors,
        weight_bytes=sum(tensor.nbytes for tensor in tensors.values()),
        fingerprint=seen,
    )


def fingerprint(folder: Path) -> bytes:
    """16 bytes that change when a file of the adapter does: by place, time, size and inode, so that asking costs two look-ups."""
    digest = blake2b(str(folder.resolve()).encode(), digest_size=16)
    for name in (CONFIG, *WEIGHTS.values()):
        try:
            facts = (folder / name).stat()
        except OSError:
            continue
        digest.update(f"{name} {facts.st_mtime_ns} {facts.st_size} {facts.st_ino} ".encode())
    return digest.digest()


def _weights_file(folder: Path) -> Path:
    there = next((folder / name for name in WEIGHTS.values() if (folder / name).is_file()), None)
    if there is None:
        found = sorted({path.name for pattern in PICKLES for path in folder.glob(pattern)})
        wanted = f"{WEIGHTS['peft']} (PEFT) or {WEIGHTS['mlx-lm']} (mlx-lm)"
        pickles = f"{', '.join(found[:3])} can run code when read, so save the adapter with safetensors."
        refuse(folder, f"has no {wanted}: {pickles if found else 'give the folder into which the adapter was saved.'}")
    return there


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = read_header(path)
    except ModelUnusable as error:
        raise AdapterUnusable(f"The adapter {path.parent.name!r} cannot be used: {error.message}") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            refuse(path, f"has the tensor {name!r} of type {tensor.dtype}; allowed are {', '.join(DTYPES)}. Save it in one of these.")
        if not tensor.size:
            refuse(path, f"has the empty tensor {name!r} of shape {list(tensor.shape)}. Save the adapter again.")
    return tensors
