"""What differs for one model: `models.overrides`, applied to the settings that its engine is started with."""

from pomona.core.settings import ModelOverrides, Settings
from pomona.models.device import memory
from pomona.models.references import ResolvedModel

GIB = 2**30


def overrides_of(model: ResolvedModel, names: tuple[str, ...], settings: Settings) -> ModelOverrides:
    """The overrides under its own name, else under the first of its other names that has any."""
    found = (settings.models.overrides.get(name) for name in (model.id, *model.aliases, *names))
    return next((each for each in found if each is not None), ModelOverrides())


def settings_for(overrides: ModelOverrides, settings: Settings, *, default: bool, kv_bytes: int | None) -> Settings:
    """`settings` as they hold for one model, with `kv_bytes` as planned for it. The chat template of the settings is the default
    model's alone.
    """
    given = {name: value for name in ("max_context", "kv_bits", "kv_cache_bytes") if (value := getattr(overrides, name)) is not None}
    if kv_bytes:
        given["kv_cache_bytes"] = kv_bytes
    engine = settings.engine.model_copy(update=given)
    template = overrides.chat_template or (settings.models.chat_template if default else None)
    models = settings.models.model_copy(update={"chat_template": template})
    return settings.model_copy(update={"engine": engine, "models": models})


def keep_alive_of(overrides: ModelOverrides, settings: Settings, *, default: bool) -> float | None:
    """Seconds after the last request that a model stays; None: for ever."""
    for chosen in (overrides.keep_alive_seconds, settings.residency.keep_alive_seconds):
        if chosen is not None:
            return None if chosen < 0 else chosen
    return None if default else idle_seconds(memory().total_bytes)


def idle_seconds(total_bytes: int) -> float:
    """How long an idle model stays where nobody has said so: the more memory, the longer."""
    return 600.0 if total_bytes >= 63 * GIB else 300.0 if total_bytes >= 23 * GIB else 180.0
