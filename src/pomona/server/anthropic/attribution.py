"""The rule that keeps Claude Code's attribution line out of the prompt.

Claude Code begins its system prompt with a line such as `x-anthropic-billing-header: cc_version=2.1.37.abc; cc_entrypoint=cli; cch=1f2e3;`.
It is meant for the vendor's billing and changes from request to request. At the head of the prompt it would make every page of the
prefix cache useless (claude-code#24168, ollama#14918). The rule is narrow, so that nothing else is ever lost:

- only the field `system`, and in it only the first block that is text (or the string itself);
- only lines at its very beginning that start with `x-anthropic-billing-header:`, each up to its line break.

The setting `anthropic.strip_attribution` switches it off. What was removed is logged, and told in the header `x-pomona-removed`.
"""

import re

from pomona.core.telemetry import get_logger

REMOVED_HEADER = "x-pomona-removed"
_LINES = re.compile(r"(?:x-anthropic-billing-header:[^\n]*(?:\n|\Z))+")

log = get_logger(__name__)


def without_attribution(text: str) -> tuple[str, bool]:
    """`text`, the beginning of a system prompt, without attribution lines, and whether there were any."""
    found = _LINES.match(text)
    if found is None:
        return text, False
    log.info("attribution_removed", text=found.group().strip())
    return text[found.end() :], True
