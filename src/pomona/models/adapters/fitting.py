"""Whether an adapter can fit a model, from the headers of both: what can be said without loading either.

Only what is certain counts: names of tensors in a model's files are not always those of its layers. The engine checks all of it.
"""

from collections.abc import Mapping
from typing import cast

from pomona.core.errors import AdapterUnusable
from pomona.models.adapters.facts import AdapterFacts
from pomona.models.adapters.placing import Site, check_part, index_by_tail, locate
from pomona.models.weights import Tensor


def check_fit(adapter: AdapterFacts, tensors: Mapping[str, Tensor], config: Mapping[str, object], model: str) -> None:
    """Raise AdapterUnusable where a layer that both name is of other sizes, or where they have no layer in common."""
    sites = _sites(tensors, config)
    tails = index_by_tail(sites)
    found = False
    for part in adapter.parts:
        name = locate(part.module, sites, tails)
        if name is not None and sites[name].kind == (part.kind or sites[name].kind):
            check_part(adapter, part, name, sites[name], model)
            found = True
    if not found and all(part.kind != "experts" for part in adapter.parts):
        made_for = f" It was made for {adapter.base!r}." if adapter.base else ""
        raise AdapterUnusable(
            f"The adapter {adapter.name!r} does not fit: {model} has none of the layers that it changes, such as "
            f"{adapter.parts[0].module!r}.{made_for}"
        )


def _sites(tensors: Mapping[str, Tensor], config: Mapping[str, object]) -> dict[str, Site]:
    """Two-dimensional weights by the name of their layer, with their sizes before they were packed."""
    sites: dict[str, Site] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        scales = tensors.get(f"{layer}.scales")
        if leaf != "weight" or len(tensor.shape) != 2:
            continue
        width = tensor.shape[1] if scales is None else scales.shape[1] * _group_size(config, layer)
        if "emb" in layer.rpartition(".")[2] or layer.endswith("wte"):
            sites[layer] = Site(kind="embedding", inputs=tensor.shape[0], outputs=width)
        else:
            sites[layer] = Site(kind="linear", inputs=width, outputs=tensor.shape[0])
    return sites


def _group_size(config: Mapping[str, object], layer: str) -> int:
    facts = cast("Mapping[str, object]", config.get("quantization") or config.get("quantization_config") or {})
    own = facts.get(layer)
    return int(cast("int", cast("Mapping[str, object]", own if isinstance(own, dict) else facts).get("group_size", 64)))
