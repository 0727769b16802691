"""The budget of the KV cache, planned before the first request."""

from pomona.core.settings import EngineSettings
from pomona.models.device import free_device_bytes


def kv_budget(settings: EngineSettings) -> int:
    """Bytes for KV pages: the setting, or a share of what the device has free now."""
    return settings.kv_cache_bytes or int(settings.kv_cache_share * free_device_bytes())
