"""The adapters of one engine: loaded when a row first asks, kept while there is room, and laid side by side for a pass.

Room is counted in bytes: each adapter once, and those that rows use a second time as soon as there are several, because a pass
with several reads them side by side (`selection.py`). The least recently used ones that no row uses go first.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from pomona.core.errors import AdapterUnusable
from pomona.engine.adapters.layers import desk_of, teach
from pomona.engine.adapters.loading import load_layers, planned_bytes
from pomona.engine.adapters.selection import Choice
from pomona.engine.adapters.sites import compute_dtype, describe_layer, find_layers
from pomona.engine.adapters.terms import NO_ADAPTER, LoadedAdapter, Term, terms_of
from pomona.models.adapters.placing import place
from pomona.models.adapters.reading import fingerprint, read_adapter

TRIAL = [[0, 0, 0], [0, 0, 0]]
"""Ids of a pass that is built and not computed, to see that the model uses every layer as layers are used."""


class AdapterBank:
    """Adapters of `model`. `batches`: rows may share a pass."""

    def __init__(self, model: nn.Module, limit_bytes: int, *, batches: bool) -> None:
        self.before_loading: Callable[[], None] = lambda: None
        self._model = model
        self._limit = limit_bytes
        self._batches = batches
        self._loaded: OrderedDict[bytes, LoadedAdapter] = OrderedDict()  # by fingerprint, the least recently used first
        self._together: tuple[LoadedAdapter, ...] = ()
        self._terms: Mapping[str, Term] = {}

    @property
    def count(self) -> int:
        """Adapters in memory."""
        return len(self._loaded)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them, those that lie side by side counted twice."""
        return sum(adapter.nbytes for adapter in (*self._loaded.values(), *self._together))

    def acquire(self, folder: str) -> LoadedAdapter | None:
        """The adapter in `folder` for one more row, loaded if it is not there or its files have changed.

        None where there is no room beside those that other rows use; there is some when no other row has one. Raises AdapterUnusable.
        """
        key = fingerprint(Path(folder))
        adapter = self._loaded.get(key) or self._load(Path(folder), key)
        if adapter is None or not (adapter.rows or self._make_room(adapter)):
            return None
        self._loaded.move_to_end(key)
        adapter.rows += 1
        return adapter

    def release(self, adapter: LoadedAdapter | None) -> None:
        """A row that used `adapter` has ended. Adapters whose files have changed since go with their last row."""
        if adapter is None:
            return
        adapter.rows -= 1
        if not adapter.rows and fingerprint(adapter.facts.path) != adapter.facts.fingerprint:
            self._drop(adapter)

    @contextmanager
    def chosen(self, adapters: Sequence[LoadedAdapter | None], tokens: int) -> Generator[None]:
        """While a pass is built whose rows, of `tokens` tokens each, have these adapters."""
        if not any(adapters):
            yield
            return
        desk = desk_of(self._model)
        desk.choice = self._choose(adapters, tokens)
        try:
            yield
        finally:
            desk.choice = None

    def check_integrity(self, adapters: Sequence[LoadedAdapter | None]) -> None:
        """Raise AssertionError unless exactly the rows with these adapters are counted, and memory is within its limit."""
        for adapter in self._loaded.values():
            if adapter.rows != sum(other is adapter for other in adapters):
                raise AssertionError(f"adapters: {adapter.facts.name} is counted {adapter.rows} times")
        if self.nbytes > self._limit:
            raise AssertionError(f"adapters: {self.nbytes} bytes of {self._limit}")

    def _choose(self, adapters: Sequence[LoadedAdapter | None], tokens: int) -> Choice:
        """One adapter is read where it is, several are read side by side."""
        wanted = list(dict.fromkeys(adapter for adapter in adapters if adapter))
        if len(wanted) == 1:
            places = [NO_ADAPTER if adapter is None else 0 for adapter in adapters]
            return Choice(places, tokens, wanted[0].terms)
        used = tuple(adapter for adapter in self._loaded.values() if adapter.rows)
        if not set(wanted) <= set(self._together) or _columns(self._together) > 2 * _columns(used):
            self._together, self._terms = used, terms_of(used)
        places = [NO_ADAPTER if adapter is None else self._together.index(adapter) for adapter in adapters]
        return Choice(places, tokens, self._terms)

    def _load(self, folder: Path, key: bytes) -> LoadedAdapter | None:
        facts = read_adapter(folder)
        for stale in [old for old in self._loaded.values() if old.facts.path == folder and not old.rows]:
            self._drop(stale)
        layers = find_layers(self._model)
        sites = {name: describe_layer(layer) for name, layer in layers.items()}
        placed, dtype = place(facts, sites, "the model"), compute_dtype(self._model)
        adapter = LoadedAdapter(facts=facts, layers={}, nbytes=planned_bytes(placed, sites, dtype))
        if not self._make_room(adapter):
            return None
        self.before_loading()
        adapter.layers = load_layers(facts, placed, layers, sites, dtype)
        adapter.terms = terms_of([adapter])
        teach(self._model, placed)
        self._try(adapter)
        if fingerprint(folder) != key:
            raise AdapterUnusable(f"The adapter {facts.name!r} was written to while it was read. Try again.")
        self._loaded[key] = adapter
        return adapter

    def _make_room(self, adapter: LoadedAdapter) -> bool:
        """For `adapter`, loaded or to be, and one row that uses it; whether there is some. Raises AdapterUnusable where there never is."""
        if adapter.nbytes > self._limit:
            raise AdapterUnusable(
                f"The adapter {adapter.facts.name!r} needs {adapter.nbytes:,} bytes; engine.adapter_bytes allows {self._limit:,}. Raise it."
            )
        while self._needed(adapter) > self._limit:
            idle = next((old for old in self._loaded.values() if not old.rows and old is not adapter), None)
            if idle is None:
                return False
            self._drop(idle)
        if any(not old.rows for old in self._together):
            self._part()
        return True

    def _needed(self, adapter: LoadedAdapter) -> int:
        """Bytes with `adapter` in use: each adapter once, and those in use again where they are several."""
        used = [old for old in self._loaded.values() if old.rows and old is not adapter]
        others = sum(old.nbytes for old in self._loaded.values() if old is not adapter)
        return others + adapter.nbytes + (sum(old.nbytes for old in used) + adapter.nbytes if used else 0)

    def _drop(self, adapter: LoadedAdapter) -> None:
        self._loaded = OrderedDict((key, old) for key, old in self._loaded.items() if old is not adapter)
        if adapter in self._together:
            self._part()

    def _part(self) -> None:
        """Those that lay side by side no longer do; the next pass with several lays out those in use."""
        self._together, self._terms = (), {}

    def _try(self, adapter: LoadedAdapter) -> None:
        """Build a pass with a row that has `adapter` and one that has none. Raises AdapterUnusable where the model cannot do that."""
        rows = TRIAL if self._batches else TRIAL[:1]
        desk = desk_of(self._model)
        desk.choice = choice = Choice([0, NO_ADAPTER][: len(rows)], len(TRIAL[0]), adapter.terms)
        try:
            cast("Any", self._model)(mx.array(rows), cache=make_prompt_cache(self._model))
        except (ValueError, TypeError, IndexError) as error:
            raise AdapterUnusable(f"The adapter {adapter.facts.name!r} cannot be used with the model: {error}.") from error
        finally:
            desk.choice = None
        unused = [name for name in adapter.layers if name not in choice.used]
        if unused:
            raise AdapterUnusable(
                f"The adapter {adapter.facts.name!r} changes {unused[0]!r}, whose weight the model does not use as a layer. "
                "Merge it into the model."
            )


def _columns(adapters: Sequence[LoadedAdapter]) -> int:
    return sum(adapter.facts.rank for adapter in adapters)
