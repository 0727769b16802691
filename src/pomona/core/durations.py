"""Times that people write: 300, "90s", "5m", "1h30m"."""

import re

from pomona.core.errors import InvalidRequest

LONGEST_SECONDS = 1e9
"""Some thirty years; more is the same."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER, _UNIT = r"\d{1,18}(\.\d{1,18})?", "(ms|s|m|h|d)"
SECONDS_PATTERN = rf"^-?({_NUMBER}|({_NUMBER}{_UNIT})+)$"
"""What text may look like, for schemas."""


def read_seconds(value: float | str, param: str) -> float:
    """A number of seconds, or text with units as Go and Ollama write it; negative ones too. Raises InvalidRequest naming `param`."""
    seconds = _of_text(value, param) if isinstance(value, str) else float(value)
    return min(max(seconds, -LONGEST_SECONDS), LONGEST_SECONDS)


def _of_text(text: str, param: str) -> float:
    stripped = text.strip().lower()
    if re.fullmatch(SECONDS_PATTERN, stripped) is None:
        advice = "Write seconds, or units such as '90s', '5m' or '1h30m'."
        raise InvalidRequest(f"{param} = {text!r} is no time. {advice}", param=param)
    amount = stripped.removeprefix("-")
    parts: list[tuple[str, str, str]] = re.findall(f"({_NUMBER}){_UNIT}", amount)
    seconds = sum(float(number) * _UNITS[unit] for number, _, unit in parts) if parts else float(amount)
    return -seconds if stripped.startswith("-") else seconds
