"""From a loaded model to an engine for it."""

from pathlib import Path
from typing import TYPE_CHECKING

from pomona.core.settings import EngineSettings
from pomona.engine.cache.disk.fingerprint import fingerprint_weights
from pomona.engine.cache.disk.opening import DiskPlace
from pomona.engine.engine import Engine
from pomona.engine.grammar.compiler import GrammarCompiler
from pomona.engine.grammar.lexicon import read_lexicon
from pomona.engine.speculation.costs import Costs
from pomona.engine.speculation.draft_model import plan_draft
from pomona.engine.speculation.speculator import Speculator
from pomona.engine.vision.vision import open_eyes

if TYPE_CHECKING:
    from pomona.models.loading import LoadedModel


def build_engine(
    loaded: "LoadedModel", settings: EngineSettings, draft: "LoadedModel | None" = None, cache_folder: Path | None = None
) -> Engine:
    """An engine for a loaded model, and one that drafts for it. The KV budget is planned from the memory that is free now.

    Beginnings of prompts are kept in `cache_folder`.
    """
    grammars = GrammarCompiler(lambda: read_lexicon(loaded.path), loaded.vocabulary)
    vision = open_eyes(loaded.vision, loaded.path, settings.picture_cache_bytes) if loaded.vision else None
    speculator = None
    if draft is not None:
        settings, drafting = plan_draft(loaded, draft, settings)
        speculator = Speculator(settings, draft=drafting, costs=Costs(draft_share=draft.weight_bytes / max(1, loaded.weight_bytes)))
    engine = Engine(loaded.module, settings, vocabulary=loaded.vocabulary, max_context=loaded.max_context, grammars=grammars, vision=vision)
    if speculator is not None:
        engine.speculate(speculator)
    if cache_folder is not None and settings.disk_cache_bytes:
        model = {"weights": fingerprint_weights(loaded.path), "dtype": loaded.dtype, "weight_bytes": loaded.weight_bytes}
        engine.keep_on_disk(DiskPlace(cache_folder=cache_folder, limit_bytes=settings.disk_cache_bytes, model=model, title=loaded.id))
    return engine
