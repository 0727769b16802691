"""How much memory there is, how much of it is free, and how much of that models may have."""

from collections.abc import Callable

from pomona.core.settings import ResidencySettings
from pomona.models.device import Memory, memory

Probe = Callable[[], Memory]
"""Memory now. Must be quick: it is asked once a second."""


def budget_of(settings: ResidencySettings, there: Memory) -> int:
    """Bytes that all loaded models together may have."""
    return settings.memory_bytes or int(settings.memory_share * there.total_bytes)


def machine_memory() -> Memory:
    """Main memory."""
    return memory()
