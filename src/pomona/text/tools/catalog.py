"""Which dialects there are, and which one a chat template speaks."""

from functools import cache
from typing import cast

from pomona.core.plugins import TOOL_PARSERS, plugins
from pomona.text.tools.dialect import Dialect
from pomona.text.tools.dialects.channels.functionary import FUNCTIONARY_RECIPIENTS
from pomona.text.tools.dialects.channels.harmony import HARMONY
from pomona.text.tools.dialects.channels.kimi import KIMI
from pomona.text.tools.dialects.channels.nemotron import NEMOTRON
from pomona.text.tools.dialects.json.command_r import COMMAND_R, COMMAND_R_PLUS
from pomona.text.tools.dialects.json.deepseek import DEEPSEEK, DEEPSEEK_FENCED
from pomona.text.tools.dialects.json.generic import GENERIC
from pomona.text.tools.dialects.json.granite import GRANITE
from pomona.text.tools.dialects.json.hermes import APRIEL, HERMES
from pomona.text.tools.dialects.json.llama_json import LLAMA_JSON
from pomona.text.tools.dialects.json.mistral import MISTRAL_IDS, MISTRAL_LIST, MISTRAL_NAMES
from pomona.text.tools.dialects.json.others import APERTUS, FUNCTIONARY, GIGACHAT, GIGACHAT_ROLE, SOLAR
from pomona.text.tools.dialects.json.phi import FUNCTOOLS, PHI
from pomona.text.tools.dialects.markup.dsml import DSML, DSML_TOOL_CALLS
from pomona.text.tools.dialects.markup.gemma import FUNCTION_GEMMA, GEMMA_4
from pomona.text.tools.dialects.markup.glm import GLM
from pomona.text.tools.dialects.markup.minimax import MINIMAX
from pomona.text.tools.dialects.markup.pythonic import LFM2, LLAMA_PYTHONIC, OLMO
from pomona.text.tools.dialects.markup.qwen3_coder import QWEN3_CODER, SEED

# Tags around names and values, and channels: they may contain `<tool_call>` too, so they come before Hermes.
MARKUP_AND_CHANNELS: tuple[Dialect, ...] = (
    *(QWEN3_CODER, SEED, GLM, MINIMAX),
    *(DSML, DSML_TOOL_CALLS),
    *(GEMMA_4, FUNCTION_GEMMA, LFM2, LLAMA_PYTHONIC, OLMO),
    *(HARMONY, KIMI, NEMOTRON, FUNCTIONARY_RECIPIENTS),
)
JSON: tuple[Dialect, ...] = (
    *(DEEPSEEK_FENCED, DEEPSEEK),
    *(MISTRAL_IDS, MISTRAL_NAMES, MISTRAL_LIST),
    *(COMMAND_R, COMMAND_R_PLUS),
    *(APERTUS, GIGACHAT, GIGACHAT_ROLE, SOLAR, FUNCTIONARY),
    *(GRANITE, PHI, FUNCTOOLS, APRIEL),
    HERMES,
    LLAMA_JSON,
)


def find_dialect(source: str) -> Dialect:
    """The dialect of the chat template `source`: the first that recognises it, those of plugins first, else the generic one."""
    return next((dialect for dialect in dialects() if dialect.recognises(source)), GENERIC)


@cache
def dialects() -> tuple[Dialect, ...]:
    """All dialects in the order in which they are tried. A plugin is an entry point of the group `pomona.tool_parsers`: a Dialect."""
    return (*(cast("Dialect", point.load()) for point in plugins(TOOL_PARSERS).values()), *MARKUP_AND_CHANNELS, *JSON)
