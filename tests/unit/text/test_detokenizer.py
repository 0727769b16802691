import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers

from pomona.text.detokenizer import make_detokenizer
from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer
from tests.unit.text.samples import FOLDERS, STORIES, TINY, pieces, texts, tokenizer

cuts = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def _stream(by: Tokenizer, ids: list[int], runs: list[int]) -> list[str]:
    detokenizer = make_detokenizer(by)
    return [*(detokenizer.push(run) for run in pieces(ids, runs)), detokenizer.finish()]


@pytest.fixture(scope="module")
def word_pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A vocabulary without bytes of its own: spaces come from the decoder, between tokens."""
    words = ["[UNK]", "the", "dog", "##s", "run", "##ning", ",", ".", "a", "é", "日", "##本", "\ufffd"]
    vocabulary = {word: index for index, word in enumerate(words)}
    fast = FastTokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.decoder = decoders.WordPiece(cleanup=False)
    folder = tmp_path_factory.mktemp("word-pieces")
    fast.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"unk_token": "[UNK]"}))
    return load_tokenizer(folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@given(text=texts, runs=cuts)
def test_streamed_text_is_the_whole_text(folder: Path, text: str, runs: list[int]) -> None:
    by = tokenizer(folder)
    ids = by.encode(text, add_special_tokens=True)
    assert "".join(_stream(by, ids, runs)) == by.decode(ids)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@given(data=st.data(), runs=cuts)
def test_streamed_text_of_any_tokens_is_the_whole_text(folder: Path, data: st.DataObject, runs: list[int]) -> None:
    """Any ids: lone bytes, special tokens, ids beyond the vocabulary."""
    by = tokenizer(folder)
    ids = data.draw(st.lists(st.integers(0, by.vocabulary_size + 8), max_size=40))
    assert "".join(_stream(by, ids, runs)) == by.decode(ids)


@given(ids=st.lists(st.integers(3, 258), max_size=40), runs=cuts)
def test_streamed_bytes_are_the_whole_text(ids: list[int], runs: list[int]) -> None:
    """The byte tokens of a sentencepiece vocabulary alone: nearly all of it is broken UTF-8."""
    by = tokenizer(STORIES)
    assert "".join(_stream(by, ids, runs)) == by.decode(ids)


@given(text=texts)
def test_no_character_is_given_out_in_parts(text: str) -> None:
    by = tokenizer(TINY)
    text = text.replace("\ufffd", "")
    for part in _stream(by, by.encode(text, add_special_tokens=False), [1]):
        assert "\ufffd" not in part


def test_an_unfinished_character_is_one_replacement_at_the_end() -> None:
    for folder in FOLDERS:
        by = tokenizer(folder)
        ids = by.encode("a 😀", add_special_tokens=False)
        assert _stream(by, ids[:-1], [1])[-1] == "\ufffd"
        assert _stream(by, ids, [1])[-2:] == ["😀", ""]


def test_a_complete_character_does_not_wait_for_the_next_token() -> None:
    by = tokenizer(STORIES)
    ids = by.encode("😀😀", add_special_tokens=False)
    assert [part for part in _stream(by, ids, [1]) if part] == ["😀", "😀"]


def test_only_an_answer_that_stands_alone_loses_its_leading_space() -> None:
    by = tokenizer(STORIES)
    ids = by.encode("time", add_special_tokens=False)
    alone, continued = make_detokenizer(by), make_detokenizer(by, continues=True)
    assert alone.push(ids) + alone.finish() == "time"
    assert continued.push(ids) + continued.finish() == " time"


@given(ids=st.lists(st.integers(0, 11), max_size=60), runs=cuts)
def test_vocabularies_without_bytes_stream_the_whole_text(word_pieces: Tokenizer, ids: list[int], runs: list[int]) -> None:
    assert word_pieces.spelling is None
    assert "".join(_stream(word_pieces, ids, runs)) == word_pieces.decode(ids)


def test_vocabularies_without_bytes_stream_word_by_word(word_pieces: Tokenizer) -> None:
    ids = word_pieces.encode("the dogs run", add_special_tokens=False)
    assert _stream(word_pieces, ids, [1]) == ["the", " dog", "s", " run", ""]


def test_endless_replacements_are_not_held_back_for_ever(word_pieces: Tokenizer) -> None:
    parts = _stream(word_pieces, [12] * 100, [1])
    assert sum(map(bool, parts[:-1])) >= 5
    assert "".join(parts) == word_pieces.decode([12] * 100)
