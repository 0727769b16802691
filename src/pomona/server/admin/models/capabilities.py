"""GET /admin/capabilities: what each model can do, and where that was found: its configuration and its chat template."""

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query

from pomona.core.errors import PomonaError
from pomona.core.settings import ModelsSettings
from pomona.core.status import ModelStatus
from pomona.server.admin.models.wire import CapabilitiesAnswer
from pomona.server.admin.services import AdminServices
from pomona.server.describing import described
from pomona.text.reasoning.marks import FAMILIES
from pomona.text.reasoning.options import BUDGET, EFFORT, SWITCHES
from pomona.text.templates import load_chat_template

REMEMBERED_TEMPLATES = 256
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What a chat template tells. All False where there is none; `problem` where it cannot be read."""

    chat: bool = False
    tools: bool = False
    reasoning: bool = False
    problem: str | None = None


def capability_routes(services: AdminServices) -> APIRouter:
    """The routes of this resource."""
    routes = APIRouter(tags=["models"])

    @routes.get("/admin/capabilities", summary="What each model can do", openapi_extra=described(answer=CapabilitiesAnswer))
    async def show_capabilities(
        model: Annotated[str | None, Query(min_length=1, description="Only this one, by any of its names.")] = None,
    ) -> dict[str, object]:
        statuses = [services.find(model)] if model else services.statuses()
        contexts = {card.id: card.max_context for card in services.backend.directory.models()}
        documents = await asyncio.to_thread(lambda: [_document(each, contexts.get(each.id), services.settings.models) for each in statuses])
        first = documents[0] if documents else None
        return {
            "model": first["model"] if first else None,
            "capabilities": first["capabilities"] if first else None,
            "detection_method": "no_model" if not statuses else "chat_template" if statuses[0].task == "generate" else "config",
            "mlx_vlm_available": find_spec("mlx_vlm") is not None,
            "notes": first["notes"] if first else None,
            "models": documents,
        }

    del show_capabilities
    return routes


def _document(status: ModelStatus, context: int | None, settings: ModelsSettings) -> dict[str, object]:
    writes = status.task == "generate"
    talk = _talk(status, settings) if writes else Talk()
    known = talk.problem is None
    return {
        "model": status.id,
        "task": status.task,
        "loaded": status.state == "ready",
        "context": context,
        "capabilities": {
            "text": writes,
            "vision": status.vision,
            "tools": talk.tools if known else None,
            "reasoning": talk.reasoning if known else None,
            "chat": talk.chat if known else None,
            "embeddings": status.task == "embed",
            "rerank": status.task == "rerank",
        },
        "detection": {
            "task": "config",
            "vision": "config",
            "tools": "chat_template" if talk.chat else "none",
            "reasoning": "chat_template" if talk.chat else "none",
        },
        "notes": talk.problem,
    }


def _talk(status: ModelStatus, settings: ModelsSettings) -> Talk:
    overrides = [settings.overrides[name] for name in (status.id, *status.aliases) if name in settings.overrides]
    chosen = next((each.chat_template for each in overrides if each.chat_template), None)
    if chosen is None and settings.default in (status.id, *status.aliases):
        chosen = settings.chat_template
    folder = Path(status.path)
    files = [folder / name for name in _TEMPLATE_FILES] + ([chosen] if chosen else [])
    return _read_talk(folder, chosen, tuple(_changed_at(path) for path in files))


@lru_cache(REMEMBERED_TEMPLATES)
def _read_talk(folder: Path, chosen: Path | None, changed_at: tuple[float, ...]) -> Talk:
    """`changed_at` makes a changed file another question."""
    del changed_at
    try:
        template = load_chat_template(folder, variables={}, override=chosen)
    except PomonaError as error:
        return Talk(problem=error.message)
    if template is None:
        return Talk()
    source, style = template.source(with_tools=True), template.style(with_tools=True)
    options = template.variables(with_tools=True) & {*SWITCHES, EFFORT, BUDGET}
    return Talk(chat=True, tools=style.tools or style.tools_field, reasoning=bool(options) or any(sign in source for sign, _ in FAMILIES))


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
