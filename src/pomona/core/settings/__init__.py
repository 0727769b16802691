"""One tree of settings, read once.

Owns: every setting, the order of their sources, where each value came from. Does not own: what the values mean to a package.
Start reading at `sections.py` and `models.py` (what there is), then `loading.py` (where it comes from).
"""

from pomona.core.settings.loading import PROFILES, PROJECT_FILES, LoadedSettings, load_settings, parse_value
from pomona.core.settings.models import (
    STEP_TOKENS_ON_CPU,
    STEP_TOKENS_ON_GPU,
    EngineSettings,
    FleetSettings,
    HubSettings,
    ModelOverrides,
    ModelsSettings,
    PicturesSettings,
    ResidencySettings,
    VectorsSettings,
)
from pomona.core.settings.section import Section
from pomona.core.settings.sections import (
    AccessSettings,
    AnthropicSettings,
    LimitsSettings,
    LoggingSettings,
    ResponsesSettings,
    ServerSettings,
    Settings,
    TracingSettings,
)

__all__ = [
    "PROFILES",
    "PROJECT_FILES",
    "STEP_TOKENS_ON_CPU",
    "STEP_TOKENS_ON_GPU",
    "AccessSettings",
    "AnthropicSettings",
    "EngineSettings",
    "FleetSettings",
    "HubSettings",
    "LimitsSettings",
    "LoadedSettings",
    "LoggingSettings",
    "ModelOverrides",
    "ModelsSettings",
    "PicturesSettings",
    "ResidencySettings",
    "ResponsesSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "TracingSettings",
    "VectorsSettings",
    "load_settings",
    "parse_value",
]
