"""Which layer of a model each part of an adapter belongs to, and whether it fits there.

Names differ between what an adapter was trained on and what mlx-lm makes of it: `model.language_model.layers.3` or
`language_model.model.layers.3`. From the layer's number on they agree, so that is what counts, as long as it names one layer only.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from pomona.core.errors import AdapterUnusable
from pomona.models.adapters.facts import AdapterFacts, Kind, Part

SHOWN = 3
_NUMBERED = re.compile(r"(?:^|\.)(?P<tail>\w+\.\d+\..+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A layer that an adapter can change. An embedding has its vocabulary as `inputs` and its width as `outputs`."""

    kind: Kind
    inputs: int
    outputs: int
    experts: int = 0


def place(adapter: AdapterFacts, sites: Mapping[str, Site], model: str) -> dict[str, tuple[Part, ...]]:
    """The parts of `adapter` by the name of their layer in `sites`: one, or one for each expert that it changes.

    Raises AdapterUnusable naming the tensor, the file and `model`, which is what messages call it.
    """
    tails = index_by_tail(sites)
    placed: dict[str, tuple[Part, ...]] = {}
    for part in adapter.parts:
        name = locate(part.module, sites, tails)
        if name is None:
            _refuse_unknown(adapter, part, sites, model)
        check_part(adapter, part, name, sites[name], model)
        if name in placed and part.expert is None:
            raise AdapterUnusable(f"The adapter file {str(adapter.weights)!r} changes the layer {name!r} of {model} twice.")
        placed[name] = (*placed.get(name, ()), part)
    return placed


def index_by_tail(sites: Iterable[str]) -> dict[str, list[str]]:
    """Names of layers by what counts of them."""
    tails: dict[str, list[str]] = {}
    for name in sites:
        tails.setdefault(_tail(name), []).append(name)
    return tails


def _tail(name: str) -> str:
    """From the first numbered block on; of other layers the last word."""
    match = _NUMBERED.search(name)
    return match["tail"] if match else name.rpartition(".")[2]


def locate(module: str, sites: Mapping[str, Site], tails: Mapping[str, list[str]]) -> str | None:
    """The layer in `sites` that an adapter calls `module`; None where there is none, or more than one."""
    if module in sites:
        return module
    named_alike = tails.get(_tail(module), [])
    if len(named_alike) > 1:  # a model with a vision part may number the layers of both
        named_alike = [name for name in named_alike if "vision" not in name and "audio" not in name]
    return named_alike[0] if len(named_alike) == 1 else None


def check_part(adapter: AdapterFacts, part: Part, name: str, site: Site, model: str) -> None:
    """Raise AdapterUnusable unless `part` is of the sizes of the layer `name`."""
    wrong = None
    if part.kind not in {None, site.kind} or (part.kind is None and site.kind == "experts"):
        wrong = f"is for a layer of kind {part.kind or 'linear'!r}, and {name!r} of {model} is of kind {site.kind!r}"
    elif (part.inputs, part.outputs) != (site.inputs, site.outputs):
        wrong = f"makes {part.outputs} values of {part.inputs}, and {name!r} of {model} makes {site.outputs} of {site.inputs}"
    elif part.experts not in {0, site.experts} or (part.expert or 0) >= max(site.experts, 1):
        wrong = f"counts other experts than the {site.experts} of {name!r} of {model}"
    elif part.magnitude and site.kind != "linear":
        wrong = f"is DoRA on a layer of kind {site.kind!r}, which is not supported; linear layers are"
    elif part.magnitude and adapter.tensors[part.magnitude].size != part.outputs:
        wrong = f"goes with {part.magnitude!r} of {adapter.tensors[part.magnitude].size} values instead of {part.outputs}"
    if wrong:
        raise AdapterUnusable(
            f"The adapter {adapter.name!r} does not fit: {part.down!r} in {str(adapter.weights)!r} {wrong}.{_made_for(adapter)}"
        )


def _refuse_unknown(adapter: AdapterFacts, part: Part, sites: Mapping[str, Site], model: str) -> NoReturn:
    last = part.module.rpartition(".")[2]
    alike = sorted((name for name in sites if name.rpartition(".")[2] == last), key=lambda name: (len(name), name))
    known = sorted({name.rpartition(".")[2] for name in sites})
    shown = f"It has {', '.join(repr(name) for name in alike[:SHOWN])}" if alike else f"Its layers are called {', '.join(known)}"
    raise AdapterUnusable(
        f"The adapter {adapter.name!r} does not fit: {part.down!r} in {str(adapter.weights)!r} is for the layer {part.module!r}, "
        f"which {model} does not have. {shown}{' ...' if alike[SHOWN:] else ''}.{_made_for(adapter)}"
    )


def _made_for(adapter: AdapterFacts) -> str:
    return f" It was made for {adapter.base!r}." if adapter.base else ""
