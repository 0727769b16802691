"""What is planned before the first request: the budget of the KV cache, and how much a step computes."""

import mlx.core as mx

from pomona.core.settings import STEP_TOKENS_ON_CPU, STEP_TOKENS_ON_GPU, EngineSettings
from pomona.models.device import free_device_bytes


def kv_budget(settings: EngineSettings) -> int:
    """Bytes for KV pages: the setting, or a share of what the device has free now."""
    return settings.kv_cache_bytes or int(settings.kv_cache_share * free_device_bytes())


def step_tokens(settings: EngineSettings) -> int:
    """Most tokens in one step: the setting, or what suits the device in use."""
    return settings.step_token_budget or (STEP_TOKENS_ON_CPU if mx.default_device() == mx.cpu else STEP_TOKENS_ON_GPU)
