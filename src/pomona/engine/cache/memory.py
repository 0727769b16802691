"""The budget of the KV cache, planned before the first request."""

import mlx.core as mx
import psutil

from pomona.core.settings import EngineSettings


def kv_budget(settings: EngineSettings) -> int:
    """Bytes for KV pages: the setting, or a share of what the device has free now."""
    return settings.kv_cache_bytes or int(settings.kv_cache_share * _free_bytes())


def _free_bytes() -> int:
    free = psutil.virtual_memory().available
    if mx.default_device() == mx.cpu:
        return free
    info = mx.device_info()
    if "free_memory" in info:  # CUDA: a memory of its own
        return int(info["free_memory"])
    return min(free, int(info.get("max_recommended_working_set_size", free)) - mx.get_active_memory())  # Metal: shared with the system
