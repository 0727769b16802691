"""The formats of strings that are enforced, as regular expressions in Rust's syntax.

Each matches nothing that its RFC forbids; a few leave out rare spellings that it allows (leap seconds, quoted mailboxes).
llguidance's own let through the 30th of February's neighbours: 29 February in every year.
"""

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_LEAP_PAIR = "(?:0[48]|[2468][048]|[13579][26])"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
"""Not 0000, which is in RFC 3339 and in no calendar of Python's."""
_LEAP_YEAR = rf"(?:[0-9]{{2}}{_LEAP_PAIR}|{_LEAP_PAIR}00)"
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_CLOCK = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DAYS = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9]|[A-Za-z0-9](?:[A-Za-z0-9]|-[A-Za-z0-9]){0,29}[A-Za-z0-9])?"
"""At most 61 characters of the 63 that a label may have; no two hyphens in a row, which only encoded labels have."""
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL}){{0,3}}"
"""Four labels, which keeps it within 253 characters."""
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_EMAIL = rf"{_ATOM}{{1,20}}(?:\.{_ATOM}{{1,20}}){{0,2}}@{_HOSTNAME}"
"""At most 62 characters of the 64 that the local part may have."""
_HEX = "[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    [
        rf"(?:{_HEX}:){{7}}{_HEX}",
        *(rf"(?:{_HEX}(?::{_HEX}){{0,{left}}})?::(?:{_HEX}(?::{_HEX}){{0,{5 - left}}})?" for left in range(6)),
        rf"::(?:{_HEX}:){{0,5}}{_IPV4}",
    ]
)
_ENCODED = "%[0-9A-Fa-f]{2}"
_PATH_CHARACTER = rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{_ENCODED})"
_AUTHORITY = rf"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|{_ENCODED})+@)?(?:{_HOSTNAME}|{_IPV4}|\[(?:{_IPV6})\])(?::[0-9]{{1,5}})?"
_URI = (
    rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{_AUTHORITY}(?:/{_PATH_CHARACTER}*)*|/?{_PATH_CHARACTER}+(?:/{_PATH_CHARACTER}*)*)"
    rf"(?:\?(?:{_PATH_CHARACTER}|[/?])*)?(?:#(?:{_PATH_CHARACTER}|[/?])*)?"
)

_HEX_8 = "[0-9A-Fa-f]{8}"
_VERSIONS = (1, 3, 4, 5, 7)
"""Pydantic's formats for UUIDs of one version."""

ANNOTATIONS = frozenset({"password", "binary", "path", "file-path", "directory-path"})
"""Formats of OpenAPI and Pydantic that say how a string is used, and allow any."""
FORMATS = {
    name: f"^(?:{pattern})$"
    for name, pattern in {
        "date-time": f"{_DATE}T{_TIME}",
        "date": _DATE,
        "time": _TIME,
        "duration": f"P(?:{_DAYS}(?:{_CLOCK})?|{_CLOCK}|[0-9]+W)",
        "email": _EMAIL,
        "hostname": _HOSTNAME,
        "ipv4": _IPV4,
        "ipv6": _IPV6,
        "uuid": f"{_HEX_8}-[0-9A-Fa-f]{{4}}-[0-9A-Fa-f]{{4}}-[0-9A-Fa-f]{{4}}-{_HEX_8}[0-9A-Fa-f]{{4}}",
        "uri": _URI,
        "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
        **{
            f"uuid{version}": f"{_HEX_8}-[0-9A-Fa-f]{{4}}-{version}[0-9A-Fa-f]{{3}}-[89ABab][0-9A-Fa-f]{{3}}-{_HEX_8}[0-9A-Fa-f]{{4}}"
            for version in _VERSIONS
        },
    }.items()
}
