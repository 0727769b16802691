"""Reads a tokenizer from a model folder: tokenizer.json directly, other formats through transformers."""

import importlib
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from pomona.core.errors import ModelUnusable
from pomona.text.special_tokens import Json, SpecialTokens, object_at, read_json, read_special_tokens
from pomona.text.token_bytes import Spelling, find_spelling
from pomona.text.tokenizer import Tokenizer

OTHER_FORMATS = (
    "tokenizer.model",
    "tokenizer.model.v3",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tekken.json",
    "tiktoken.model",
    "vocab.json",
    "vocab.txt",
)
PROBES = 128


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of the model in `folder`. Raises ModelUnusable naming the file and the reason."""
    special = read_special_tokens(folder)
    path = folder / "tokenizer.json"
    if path.is_file():
        with _Naming(path):
            return _from_fast(FastTokenizer.from_file(str(path)), special, read_json(folder / "tokenizer_config.json"))
    found = next((folder / name for name in OTHER_FORMATS if (folder / name).is_file()), None)
    if found is None:
        raise ModelUnusable(
            f"The model folder {str(folder)!r} has no tokenizer: none of tokenizer.json, {', '.join(OTHER_FORMATS)} is there. "
            "Download the model again, or copy the tokenizer files of the model that it was made from."
        )
    return _from_transformers(folder, found, special)


def load_fast_tokenizer(folder: Path) -> FastTokenizer:
    """The tokenizer of the model in `folder` as the library's own object, for what `Tokenizer` has no words for: pairs of texts, and
    what the file adds around them. It neither truncates nor pads. Raises ModelUnusable.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        with _Naming(path):
            fast = FastTokenizer.from_file(str(path))
    else:
        found = next((folder / name for name in OTHER_FORMATS if (folder / name).is_file()), path)
        with _Naming(found):
            loaded = importlib.import_module("transformers").AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
            fast = getattr(loaded, "backend_tokenizer", None)
        if not isinstance(fast, FastTokenizer):
            raise ModelUnusable(
                f"The tokenizer {str(found)!r} cannot be used for vectors. Take a version of the model with tokenizer.json."
            )
    fast.no_truncation()
    fast.no_padding()
    _add_missing(fast, read_json(folder / "tokenizer_config.json"))
    return fast


class _FastVocabulary:
    """A vocabulary of the `tokenizers` library, whose objects may be shared between threads."""

    def __init__(self, fast: FastTokenizer) -> None:
        self._fast = fast

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return self._fast.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return self._fast.decode(ids, skip_special_tokens=skip_special_tokens)

    def token(self, token_id: int) -> str | None:
        return self._fast.id_to_token(token_id)


class _SlowTokenizer(Protocol):
    """What we use of a transformers tokenizer written in Python."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...

    def convert_ids_to_tokens(self, ids: int) -> str | None: ...


class _SlowVocabulary:
    """A transformers tokenizer written in Python. These keep state while they work: one thread at a time."""

    def __init__(self, slow: _SlowTokenizer, size: int) -> None:
        self._slow = slow
        self._size = size
        self._lock = threading.Lock()

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        with self._lock:
            return list(self._slow.encode(text, add_special_tokens=add_special_tokens))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        known = [token_id for token_id in ids if 0 <= token_id < self._size]
        with self._lock:
            return self._slow.decode(known, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)

    def token(self, token_id: int) -> str | None:
        with self._lock:
            return self._slow.convert_ids_to_tokens(token_id)


class _TokenAdder(Protocol):
    """The typed part of a `tokenizers` object that takes more tokens."""

    def add_tokens(self, tokens: list[AddedToken]) -> int: ...

    def add_special_tokens(self, tokens: list[AddedToken]) -> int: ...


def _from_fast(fast: FastTokenizer, special: SpecialTokens, tokenizer_config: Json) -> Tokenizer:
    """Truncation and padding that training left in the file are switched off: they would cut prompts in silence."""
    fast.no_truncation()
    fast.no_padding()
    _add_missing(fast, tokenizer_config)
    _mark_special(fast, special.texts)
    added = fast.get_added_tokens_decoder()
    special_ids = {token.content: token_id for token_id, token in added.items() if token.special}
    size = max(fast.get_vocab_size(with_added_tokens=True), 1 + max(added, default=-1))
    vocabulary = _FastVocabulary(fast)
    # A decoder has no public way to show its parts; its pickled state is their JSON.
    spelling = find_spelling(None if fast.decoder is None else cast("bytes", fast.decoder.__getstate__()))
    trusted = spelling if spelling and _agrees(vocabulary, spelling, size) else None
    return Tokenizer(vocabulary, size=size, special=special, special_ids=special_ids, spelling=trusted)


def _add_missing(fast: FastTokenizer, tokenizer_config: Json) -> None:
    """Fine-tuned models may name added tokens in tokenizer_config.json only. A token must get the id that the file gives it."""
    adder = cast("_TokenAdder", fast)
    listed = object_at(tokenizer_config, "added_tokens_decoder")
    for token_id, token in sorted((int(key), object_at(listed, key)) for key in listed if key.isdigit()):
        text = str(token.get("content"))
        if fast.token_to_id(text) is None and token_id == fast.get_vocab_size(with_added_tokens=True):
            special = token.get("special") is True
            added = AddedToken(text, special=special, normalized=token.get("normalized", not special) is True)
            _ = adder.add_special_tokens([added]) if special else adder.add_tokens([added])


def _mark_special(fast: FastTokenizer, texts: Sequence[str]) -> None:
    """Tokens that the configuration names are special, whether or not tokenizer.json says so."""
    adder = cast("_TokenAdder", fast)
    marked = {token.content for token in fast.get_added_tokens_decoder().values() if token.special}
    known = [text for text in texts if text not in marked and fast.token_to_id(text) is not None]
    adder.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in known])


def _agrees(vocabulary: _FastVocabulary, spelling: Spelling, size: int) -> bool:
    """Whether our spelling gives what the library's decoder gives, tried on tokens from all over the vocabulary."""
    for token_id in range(0, size, max(1, size // PROBES)):
        token = vocabulary.token(token_id)
        ours = spelling.spell(token or "").decode("utf-8", "replace")
        ours = ours.removeprefix(" ") if spelling.strips_leading_space else ours
        if ours != vocabulary.decode([token_id], skip_special_tokens=False):
            return False
    return True


def _from_transformers(folder: Path, path: Path, special: SpecialTokens) -> Tokenizer:
    """transformers takes seconds to import, so it is loaded only here. It turns most formats into `tokenizers` objects."""
    with _Naming(path):
        loaded = importlib.import_module("transformers").AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    named = {str(name): text for name, text in cast("Json", loaded.special_tokens_map).items() if isinstance(text, str)}
    special = replace(special, named={**named, **special.named})
    fast = getattr(loaded, "backend_tokenizer", None)
    if isinstance(fast, FastTokenizer):
        return _from_fast(fast, special, {})
    size = len(loaded)
    special_ids = dict(zip(cast("list[str]", loaded.all_special_tokens), cast("list[int]", loaded.all_special_ids), strict=True))
    return Tokenizer(
        _SlowVocabulary(cast("_SlowTokenizer", loaded), size), size=size, special=special, special_ids=special_ids, spelling=None
    )


class _Naming:
    """Turns what the libraries raise while they read `path` into ModelUnusable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # `tokenizers` raises bare Exception objects, transformers these.
        if type(error) is Exception or isinstance(error, OSError | ValueError | TypeError | ImportError | LookupError | RuntimeError):
            raise ModelUnusable(
                f"The tokenizer {str(self._path)!r} cannot be read: {error}. Download the model again; if that does not help, "
                "the tokenizer needs code of its own, which Pomona does not run."
            ) from error
