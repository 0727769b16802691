import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import sentencepiece  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer

from pomona.core.errors import ModelUnusable
from pomona.text.tokenizer_loading import load_tokenizer
from tests.unit.text.samples import FOLDERS, STORIES, TINY, texts, tokenizer


def _copy(source: Path, target: Path, **config: object) -> Path:
    """The tokenizer files of `source`, with changes to tokenizer_config.json; None takes a key away."""
    target.mkdir()
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(source / name, target / name)
    loaded = json.loads((source / "tokenizer_config.json").read_text())
    changed = {key: value for key, value in {**loaded, **config}.items() if value is not None}
    (target / "tokenizer_config.json").write_text(json.dumps(changed))
    return target


@given(text=texts)
def test_byte_level_text_comes_back(text: str) -> None:
    ids = tokenizer(TINY).encode(text, add_special_tokens=False)
    assert tokenizer(TINY).decode(ids) == text
    assert b"".join(tokenizer(TINY).token_bytes(token_id) for token_id in ids) == text.encode()


@given(ids=st.lists(st.integers(0, 8191), max_size=30), skip=st.booleans())
def test_byte_level_decoding_is_that_of_the_library(ids: list[int], skip: bool) -> None:
    library = FastTokenizer.from_file(str(TINY / "tokenizer.json"))
    assert tokenizer(TINY).decode(ids, skip_special_tokens=skip) == library.decode(ids, skip_special_tokens=skip)


@given(text=texts)
def test_sentencepiece_decoding_is_that_of_the_library(text: str) -> None:
    library = FastTokenizer.from_file(str(STORIES / "tokenizer.json"))
    ids = tokenizer(STORIES).encode(text, add_special_tokens=True)
    assert tokenizer(STORIES).decode(ids) == library.decode(ids)


def test_broken_bytes_become_one_replacement_and_spare_their_neighbours() -> None:
    stories = tokenizer(STORIES)
    euro = stories.encode("€", add_special_tokens=False)[-3:]
    first_of_emoji = stories.encode("😀", add_special_tokens=False)[-4]
    assert stories.decode([*euro, first_of_emoji]) == "€\ufffd"


def test_tokens_know_their_bytes() -> None:
    tiny, stories = tokenizer(TINY), tokenizer(STORIES)
    assert [tiny.token_bytes(token) for token in tiny.encode(" é😀", add_special_tokens=False)] == [
        b" ",
        "é".encode(),
        b"\xf0\x9f",
        b"\x98",
        b"\x80",
    ]
    assert stories.token_bytes(stories.encode("a", add_special_tokens=False)[0]) == b" a"
    assert tiny.token_text(8185) == "<|im_end|>"
    assert tiny.token_bytes(10**6) == b""
    assert tiny.token_bytes(-1) == b""


def test_special_tokens_are_read_from_all_files(tmp_path: Path) -> None:
    tiny = tokenizer(TINY)
    assert tiny.eos_ids == {8185, 8183}
    assert tiny.bos_id is None
    assert tiny.special_tokens == {"<|endoftext|>": 8183, "<|im_start|>": 8184, "<|im_end|>": 8185}
    assert tiny.template_variables["eos_token"] == "<|im_end|>"
    folder = _copy(STORIES, tmp_path / "nested", eos_token={"content": "</s>"})
    (folder / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": [7, 8]}}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 9}))
    assert load_tokenizer(folder).eos_ids == {2, 7, 8, 9}


def test_tokens_named_only_in_the_configuration_are_added_and_special(tmp_path: Path) -> None:
    added = {"512": {"content": "<|new|>", "special": True}, "513": {"content": "<plain>", "special": False}, "900": {"content": "<gap>"}}
    loaded = load_tokenizer(_copy(STORIES, tmp_path / "added", added_tokens_decoder=added, eos_token="<|new|>"))
    assert loaded.encode("<|new|><plain>", add_special_tokens=False) == [512, 513]
    assert loaded.decode([512, 513]) == "<plain>"
    assert loaded.vocabulary_size == 514
    assert 512 in loaded.eos_ids


@pytest.mark.parametrize(("add_bos", "expected"), [(None, [1]), (True, [1]), (False, [])])
def test_beginning_of_text_follows_the_configuration(tmp_path: Path, add_bos: bool | None, expected: list[int]) -> None:
    loaded = load_tokenizer(_copy(STORIES, tmp_path / "model", add_bos_token=add_bos))
    plain = loaded.encode("Once", add_special_tokens=False)
    assert loaded.encode("Once", add_special_tokens=True) == [*expected, *plain]
    assert loaded.encode_chat("Once") == [*expected, *plain]


def test_beginning_of_text_is_added_where_only_the_configuration_asks_for_it(tmp_path: Path) -> None:
    loaded = load_tokenizer(_copy(TINY, tmp_path / "model", add_bos_token=True, bos_token="<|im_start|>"))
    assert loaded.encode("Once", add_special_tokens=True)[0] == 8184
    assert loaded.encode("<|im_start|>Once", add_special_tokens=True).count(8184) == 1


def test_beginning_of_text_is_never_doubled() -> None:
    stories = tokenizer(STORIES)
    for ids in (stories.encode("<s>Once", add_special_tokens=True), stories.encode_chat("<s>Once")):
        assert ids[0] == 1
        assert ids.count(1) == 1


def test_truncation_and_padding_left_by_training_are_ignored(tmp_path: Path) -> None:
    folder = _copy(TINY, tmp_path / "model")
    library = FastTokenizer.from_file(str(TINY / "tokenizer.json"))
    library.enable_truncation(4)
    library.enable_padding(length=16)
    library.save(str(folder / "tokenizer.json"))
    text = "one two three four five six seven"
    assert load_tokenizer(folder).encode(text, add_special_tokens=False) == tokenizer(TINY).encode(text, add_special_tokens=False)


def test_halves_of_characters_are_mended() -> None:
    tiny = tokenizer(TINY)
    assert tiny.decode(tiny.encode("a\ud83d\ude00b\ud800c", add_special_tokens=False)) == "a😀b\ufffdc"


def test_many_threads_get_what_one_gets() -> None:
    samples = [f"Sentence {number} with é and 😀 and {'word ' * (number % 7)}" for number in range(200)]
    for folder in FOLDERS:
        shared = load_tokenizer(folder)
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(partial(shared.encode, add_special_tokens=False), samples))
            assert list(pool.map(shared.decode, ids)) == samples


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", '{"model":', "tokenizer.json"),
        ("tokenizer.json", "{}", "tokenizer.json"),
        ("tokenizer_config.json", "{,}", "tokenizer_config.json"),
        ("generation_config.json", "[1]", "generation_config.json"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    folder = _copy(STORIES, tmp_path / "model")
    (folder / name).write_text(content)
    with pytest.raises(ModelUnusable, match=says):
        load_tokenizer(folder)


def test_a_folder_without_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"no tokenizer: none of tokenizer\.json, tokenizer\.model"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_model_alone_is_enough(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"The {word} dog ran to the {word} house." for word in ("big", "small", "red", "blue", "old") * 20))
    sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportUnknownMemberType]
        input=str(corpus), model_prefix=str(tmp_path / "tokenizer"), vocab_size=320, model_type="bpe", byte_fallback=True, minloglevel=2
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    loaded = load_tokenizer(tmp_path)
    ids = loaded.encode("The old dog 😀", add_special_tokens=False)
    assert loaded.decode(ids) == "The old dog 😀"
    assert loaded.eos_ids == {2}
    assert loaded.spelling is not None


def test_a_tokenizer_written_in_python_works_from_many_threads(tmp_path: Path) -> None:
    vocabulary = {"adapt@@": 0, "re@@": 1, "a@@": 2, "apt": 3, "c@@": 4, "t": 5, "<unk>": 6, "react": 7}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na p\nap t</w>\nr e\na d\nad apt</w>\n\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CTRLTokenizer"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ctrl", "eos_token_id": 5}))
    loaded = load_tokenizer(tmp_path)
    ids = loaded.encode("react apt", add_special_tokens=False)
    assert ids == [1, 2, 4, 5, 3]
    assert (loaded.vocabulary_size, loaded.special_tokens, loaded.eos_ids) == (8, {"<unk>": 6}, {5})
    assert (loaded.token_bytes(3), loaded.token_text(7), loaded.decode([3, 99, 6])) == (b"apt", "react", "apt")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(loaded.decode, [ids] * 100)) == {"react apt"}


def test_a_broken_sentencepiece_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"not a model")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelUnusable, match=r"tokenizer\.model"):
        load_tokenizer(tmp_path)


def test_the_text_side_loads_no_model_library() -> None:
    code = (
        "import sys, pomona.text.output, pomona.text.prompt, pomona.text.templates, pomona.text.tokenizer_loading\n"
        "print(*sorted({'transformers', 'mlx', 'torch', 'numpy'} & sys.modules.keys()))"
    )
    source = Path(sys.modules["pomona"].__path__[0]).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(source)})
    assert done.stdout.strip() == ""
