"""Models as Codex reads them: entries of its own shape in an extra list beside OpenAI's."""

from pomona.core.status import ModelCard

_EFFORTS = {
    "none": "Answers at once",
    "low": "Thinks briefly",
    "medium": "Thinks as long as most tasks need",
    "high": "Thinks long",
}
_INSTRUCTIONS = (
    "You are a coding agent in a terminal on the user's machine. Work on the task until it is done: read the files that matter, "
    "make small and correct changes, run what shows that they work, and then say briefly what you did. "
    "Use the tools that you have rather than describe what could be done, and never invent what a file or a command says."
)
_OUTPUT_TOKENS = 10_000
"""Codex cuts what a command prints after so many tokens."""


def codex_model(card: ModelCard, priority: int) -> dict[str, object]:
    """One entry. `priority` orders the list, 0 first."""
    return {
        "slug": card.id,
        "display_name": card.id,
        "description": "A model on this machine.",
        "default_reasoning_level": "medium",
        "supported_reasoning_levels": [{"effort": effort, "description": text} for effort, text in _EFFORTS.items()],
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "additional_speed_tiers": [],
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": _INSTRUCTIONS,
        "supports_reasoning_summaries": False,
        "default_reasoning_summary": "none",
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": "freeform",
        "web_search_tool_type": "text",
        "truncation_policy": {"mode": "tokens", "limit": _OUTPUT_TOKENS},
        "supports_parallel_tool_calls": True,
        "supports_image_detail_original": False,
        "supports_search_tool": False,
        "context_window": card.max_context,
        "max_context_window": card.max_context,
        "effective_context_window_percent": 95,
        "experimental_supported_tools": [],
        "input_modalities": ["text", "image"] if card.vision else ["text"],
    }
