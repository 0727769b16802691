from hypothesis import given
from hypothesis import strategies as st

from pomona.text.stop_strings import StopStrings

alphabet = st.text("ab é", max_size=40)
stops = st.lists(st.text("ab é", min_size=1, max_size=5), min_size=1, max_size=4)


def _naive(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The stop string that is complete first, found in the whole text; of several, the longest."""
    found = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    end, _, stop = min(found)
    return text[: end - len(stop)], stop


def _streamed(parts: list[str], stops: list[str]) -> tuple[str, str | None]:
    matcher = StopStrings(stops)
    shown = ""
    for part in parts:
        text, stop = matcher.push(part)
        shown += text
        if stop is not None:
            return shown, stop
    return shown + matcher.flush(), None


@given(parts=st.lists(alphabet, max_size=12), stops=stops)
def test_streaming_equals_searching_the_whole(parts: list[str], stops: list[str]) -> None:
    assert _streamed(parts, stops) == _naive("".join(parts), stops)


@given(text=alphabet, stops=stops)
def test_the_cut_does_not_matter(text: str, stops: list[str]) -> None:
    assert _streamed(list(text), stops) == _streamed([text], stops)


@given(parts=st.lists(alphabet, max_size=12), stops=stops)
def test_no_more_is_held_back_than_may_become_a_stop_string(parts: list[str], stops: list[str]) -> None:
    matcher, read, shown = StopStrings(stops), "", ""
    for part in parts:
        text, stop = matcher.push(part)
        if stop is not None:
            return
        read, shown = read + part, shown + text
        held = read[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_examples() -> None:
    assert _streamed(["Hello wor", "ld", "!"], ["world"]) == ("Hello ", "world")
    assert _streamed(["a\nUs", "er:"], ["\nUser:", "\nUs"]) == ("a", "\nUs")
    assert _streamed(["xab", "cd"], ["abcd", "cd"]) == ("x", "abcd")
    assert _streamed(["aaa", "b"], ["aab"]) == ("a", "aab")
    assert _streamed(["日", "本", "語"], ["本語"]) == ("日", "本語")
    assert _streamed(["end", "in"], ["ending"]) == ("endin", None)
    assert _streamed(["plain"], []) == ("plain", None)
