"""Regular expressions of JSON Schema (ECMA-262) in the syntax of Rust, which llguidance reads.

Both look alike and differ in silence: `[a&&b]` is an intersection in one and three characters in the other, `.` stops at other line
ends, `\\d` means other digits. What has no equal is refused: lookarounds, references back, word borders.
"""

import re

from pomona.text.grammar.limits import MAX_EXPANSION

_CLASSES = {
    "d": "0-9",
    "w": "0-9A-Za-z_",
    "s": r"\t\n\x0B\x0C\r \x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}",
}
"""Without U+FEFF, a blank in ECMA-262 and none in Python."""
_NOT_BLANK = _CLASSES["s"] + r"\x{1C}-\x{1F}\x{85}\x{FEFF}"
"""What is a blank by either."""
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\x0C", "v": r"\x0B", "0": r"\x00"}
_UNWRITABLE = re.compile(r"\\x\{?0*(?:[0-7BE-F]|0[BE-F]|1[0-9A-F]|7F)\}?")
"""Control characters for which JSON has no short escape."""
_DOT = r"[^\n\r\x{2028}\x{2029}]"
_SLASH = r"\x{2F}"
"""Lark ends an expression at a plain one."""
_REPEAT = re.compile(r"\{\d+(,\d*)?\}")
_PROPERTY = re.compile(r"[pP]\{[A-Za-z_]+(=[A-Za-z_]+)?\}")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_COUNTED = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|.", re.DOTALL)
_GROUP = re.compile(r"\((\?:|\?P?<[A-Za-z_][A-Za-z0-9_]*>)?")


class PatternError(ValueError):
    """The expression is wrong, or has something that cannot be enforced."""


def rust_pattern(pattern: str) -> str:
    """`pattern`, a search, in Rust's syntax. Raises PatternError."""
    return _Translation(pattern).run()


def rust_pattern_of_whole(pattern: str) -> str:
    """`pattern` for a text that it must match as a whole; anchors at the ends of alternatives are then redundant. Raises PatternError."""
    return _Translation(pattern, whole=True).run()


def expansion(text: str) -> int:
    """About how many characters and groups `text`, an expression or a grammar, has with its repetitions written out."""
    levels: list[list[int]] = [[0, 0]]
    for token in _COUNTED.findall(text):
        if token == "(":
            levels.append([0, 0])
        elif token == ")" and len(levels) > 1:
            inside = levels.pop()
            levels[-1] = [sum(levels[-1]), sum(inside)]
        elif token[0] == "{" and len(token) > 1:
            levels[-1][1] *= max(int(number) for number in re.findall(r"\d+", token))
        else:
            levels[-1] = [sum(levels[-1]), 1]
    return sum(map(sum, levels))


def whole_of_search(pattern: str) -> str:
    """The texts in which `pattern`, translated, is found, as an expression without anchors. Raises PatternError."""
    return "|".join(_anchored(each) for each in _top_alternatives(pattern)).replace("/", _SLASH)


def _anchored(tokens: list[str]) -> str:
    begins, ends = tokens[:1] == ["^"], tokens[-1:] == ["$"]
    body = tokens[begins : len(tokens) - ends]
    if "^" in body or "$" in body:
        raise PatternError("has '^' or '$' elsewhere than at an end of the text")
    return f"{'' if begins else '(?s:.*)'}(?:{''.join(body)}){'' if ends else '(?s:.*)'}"


def _top_alternatives(pattern: str) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    depth = 0
    for token in _TOKEN.findall(pattern):
        depth += (token == "(") - (token == ")")
        if token == "|" and depth == 0:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


class _Translation:
    def __init__(self, pattern: str, *, whole: bool = False) -> None:
        self._text = pattern
        self._at = 0
        self._whole = whole
        self._depth = 0
        self._quantifiable = False
        self._alternative_begins = True

    def run(self) -> str:
        if expansion(self._text) > MAX_EXPANSION:
            raise PatternError(f"repeats repetitions: written out it has more than {MAX_EXPANSION} characters")
        pieces: list[str] = []
        while self._at < len(self._text):
            pieces.append(self._atom())
        if self._depth:
            raise PatternError("has an unclosed group")
        return "".join(pieces)

    def _atom(self) -> str:
        char = self._text[self._at]
        match char:
            case "(" | ")" | "|":
                return self._structure(char)
            case "^" | "$":
                return self._anchor(char)
            case "*" | "+" | "?" | "{":
                return self._quantifier(char)
            case _:
                self._alternative_begins, self._quantifiable = False, True
                return self._character(char)

    def _structure(self, char: str) -> str:
        self._quantifiable = char == ")"
        self._alternative_begins = char != ")"
        if char != "(":
            self._at += 1
            self._depth -= char == ")"
            if self._depth < 0:
                raise PatternError("closes a group that is not open")
            return char
        opening = _GROUP.match(self._text, self._at)
        end = opening.end() if opening else self._at + 1
        if self._text[end : end + 1] == "?":
            raise PatternError(f"has {self._text[end - 1 : end + 3]!r}: looking ahead or behind, and flags, cannot be enforced")
        self._at = end
        self._depth += 1
        return "(?:"

    def _anchor(self, char: str) -> str:
        self._at += 1
        self._quantifiable = False
        if not self._whole:
            return char
        following = self._text[self._at : self._at + 1]
        if self._depth or not (self._alternative_begins if char == "^" else following in ("", "|")):
            raise PatternError(f"has {char!r} where it is not at an end of the text")
        return ""

    def _quantifier(self, char: str) -> str:
        bounds = _REPEAT.match(self._text, self._at)
        if char == "{" and not bounds:
            self._at += 1
            self._alternative_begins, self._quantifiable = False, True
            return r"\{"
        if not self._quantifiable:
            raise PatternError(f"repeats nothing at character {self._at}")
        self._at = bounds.end() if char == "{" and bounds else self._at + 1
        self._quantifiable = False
        quantifier = bounds.group() if char == "{" and bounds else char
        if self._text[self._at : self._at + 1] == "?":
            self._at += 1  # lazy and greedy accept the same texts
        return quantifier

    def _character(self, char: str) -> str:
        self._at += 1
        if char == "\\":
            return self._escape(within_class=False)
        if char == "[":
            return self._class()
        if char == ".":
            return _DOT
        return _literal(char)

    def _class(self) -> str:
        pieces = ["["]
        if self._text[self._at : self._at + 1] == "^":
            self._at += 1
            pieces.append("^")
        while (char := self._text[self._at : self._at + 1]) != "]":
            if not char:
                raise PatternError("has an unclosed class of characters")
            self._at += 1
            pieces.append(self._member(char))
        self._at += 1
        if not self._whole and _writes_nothing(pieces[1:]):
            raise PatternError("demands control characters, which strings of answers never hold")
        if pieces == ["["]:
            raise PatternError("has an empty class of characters, which matches nothing")
        return r"(?s:.)" if pieces == ["[", "^"] else "".join([*pieces, "]"])

    def _member(self, char: str) -> str:
        if char == "\\":
            return self._escape(within_class=True)
        if char == "-":
            before, after = self._text[self._at - 2], self._text[self._at : self._at + 1]
            return r"\-" if before in "[^" or after == "]" else "-"
        return "\\" + char if char in "[&~^" else _literal(char, within_class=True)

    def _escape(self, *, within_class: bool) -> str:
        rest = self._text[self._at : self._at + 40]
        if not rest:
            raise PatternError("ends with a backslash")
        char = rest[0]
        if char in "dDwWsS":
            self._at += 1
            return _class_escape(char, within_class=within_class)
        for known in (_CODE, _PROPERTY):
            if found := known.match(rest):
                self._at += found.end()
                return self._control(_code(found), within_class=within_class) if known is _CODE else "\\" + found.group()
        self._at += 1
        if char == "b" and within_class:
            return r"\x08"
        if char in _CONTROLS and not (char == "0" and rest[1:2].isdigit()):
            return self._control(_CONTROLS[char], within_class=within_class)
        if char.isalnum() or char == "_":
            raise PatternError(f"has {chr(92) + char!r}, which cannot be enforced")
        return _literal(char, within_class=within_class)

    def _control(self, code: str, *, within_class: bool) -> str:
        if not self._whole and not within_class and _UNWRITABLE.fullmatch(code):
            raise PatternError(f"demands a control character, {code}, which strings of answers never hold")
        return code


def _writes_nothing(members: list[str]) -> bool:
    """Whether a class has control characters only, and none that JSON writes in short."""
    codes = [re.fullmatch(r"\\x\{?([0-9A-F]+)\}?", member) for member in members if member != "-"]
    values = [int(code.group(1), 16) for code in codes if code]
    if not members or len(values) != len(codes):
        return False
    spans = range(min(values), max(values) + 1) if "-" in members else values
    return all(value == 0x7F or (value < 0x20 and value not in (8, 9, 10, 12, 13)) for value in spans)


def _class_escape(char: str, *, within_class: bool) -> str:
    members = _NOT_BLANK if char == "S" else _CLASSES[char.lower()]
    if char.isupper():
        return f"[^{members}]"
    return members if within_class else f"[{members}]"


def _code(found: re.Match[str]) -> str:
    value = int(next(group for group in found.groups() if group), 16)
    if 0xD800 <= value < 0xE000 or value > 0x10FFFF:
        raise PatternError(f"has {chr(92) + found.group()!r}, which is no character")
    return f"\\x{{{value:X}}}"


def _literal(char: str, *, within_class: bool = False) -> str:
    if char in "\n\r\t":
        return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}[char]
    if within_class and char in "[]&~^-\\":
        return "\\" + char
    if char == "/":
        return _SLASH
    return "\\" + char if not within_class and char in r"\.+*?()|[]{}^$" else char
