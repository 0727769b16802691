"""Times that people write: 300, "90s", "5m", "1h30m"."""

import math
import re

from pomona.core.errors import InvalidRequest

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"
_WHOLE = re.compile(rf"(-?)((?:{_PART})+)")
LONGEST_SECONDS = 1e9


def read_seconds(value: float | str, param: str) -> float:
    """A number of seconds, or text with units as Go and Ollama write it; negative ones too. Raises InvalidRequest naming `param`."""
    if isinstance(value, str):
        value = _of_text(value, param)
    if not math.isfinite(value) or abs(value) > LONGEST_SECONDS:
        raise InvalidRequest(f"{param} = {value!r} is no time up to {LONGEST_SECONDS:.0f} seconds.", param=param)
    return float(value)


def _of_text(text: str, param: str) -> float:
    stripped = text.strip().lower()
    match = _WHOLE.fullmatch(stripped)
    if match is not None:
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(_PART, match[2]))
        return -seconds if match[1] else seconds
    try:
        return float(stripped)
    except ValueError:
        raise InvalidRequest(
            f"{param} = {text!r} is no time. Write seconds, or units such as '90s', '5m' or '1h30m'.", param=param
        ) from None
