"""Inputs of encoders are what the tokenizer's library makes of them, cut as it cuts them."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from pomona.text.pairs.inputs import Inputs

WORDS = {word: index for index, word in enumerate(["?", "[CLS]", "[SEP]", *"abcdefghij"])}


def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel(WORDS, unk_token="?"))
    made.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    made.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return made


@pytest.mark.parametrize("limit", range(2, 12))
def test_texts_are_cut_as_the_library_cuts_them(limit: int) -> None:
    library = tokenizer()
    library.enable_truncation(limit)
    texts = ["a b c d e f g", "a", ""]
    found = Inputs(tokenizer()).texts(texts, limit)
    assert [each.ids for each in found] == [each.ids for each in library.encode_batch(texts)]
    assert [each.whole_tokens for each in found] == [9, 3, 2]


@pytest.mark.parametrize("limit", range(5, 20))
@pytest.mark.parametrize("query", ["a", "a b c", "a b c d e f g h"])
def test_pairs_are_cut_as_the_library_cuts_them(query: str, limit: int) -> None:
    library = tokenizer()
    library.enable_truncation(limit)
    documents = ["j", "d e f", "d e f g h i j a b c"]
    expected = library.encode_batch([(query, document) for document in documents])
    found = Inputs(tokenizer()).pairs(query, documents, limit)
    assert [each.ids for each in found] == [each.ids for each in expected]
    assert [each.second for each in found] == [each.type_ids.index(1) for each in expected]


def test_documents_may_be_cut_to_a_length_of_their_own() -> None:
    (found,) = Inputs(tokenizer()).pairs("a", ["b c d e"], 100, most_second=2)
    assert found.ids == [1, WORDS["a"], 2, WORDS["b"], WORDS["c"], 2]


def test_the_closing_token_is_never_cut_off() -> None:
    inputs = Inputs(tokenizer(), closing=9)
    assert [each.ids[-1] for each in inputs.texts(["a", "a b c d e f"], 5)] == [9, 9]
    assert [len(each.ids) for each in inputs.texts(["a", "a b c d e f"], 5)] == [4, 5]


def test_letters_may_be_made_small_and_halves_of_characters_mended() -> None:
    assert Inputs(tokenizer(), lower_case=True).plain("A b") == [WORDS["a"], WORDS["b"]]
    assert Inputs(tokenizer()).plain("a \ud83d b") == [WORDS["a"], 0, WORDS["b"]]


def test_the_tokens_of_an_instruction_are_counted_with_those_before_it() -> None:
    assert Inputs(tokenizer()).leading("a b ") == 3
