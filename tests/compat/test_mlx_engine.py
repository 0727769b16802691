"""A program written for mlx-engine."""

import threading
from collections.abc import Generator

import pytest

from pomona.compat.mlx_engine import (
    ModelKit,
    cancel,
    create_generator,
    is_draft_model_compatible,
    load_draft_model,
    load_model,
    tokenize,
    unload,
    unload_draft_model,
)
from pomona.core.errors import InvalidRequest, ModelNotFound, UnsupportedField
from pomona.models.references import bundled_folder
from tests.golden.cases import REPOSITORY

STORIES = REPOSITORY / "tests" / "data" / "stories260K"


@pytest.fixture(scope="module")
def kit() -> Generator[ModelKit]:
    with load_model(bundled_folder(), max_kv_size=512) as loaded:
        yield loaded


def test_a_prompt_is_continued_piece_by_piece(kit: ModelKit) -> None:
    told: list[float] = []

    def progress(percent: float) -> bool:
        told.append(percent)
        return True

    results = list(
        create_generator(kit, tokenize(kit, "The cat"), max_tokens=5, temp=0.0, top_logprobs=2, prompt_progress_callback=progress)
    )

    assert told == [0.0, 100.0]
    assert all(result.stop_condition is None for result in results[:-1])
    last = results[-1].stop_condition
    assert last is not None
    assert last.stop_reason in {"token_limit", "eos_token"}
    tokens = [token for result in results for token in result.tokens]
    assert "".join(token.text for token in tokens) == "".join(result.text for result in results)
    assert all(len(each) == 2 for result in results for each in result.top_logprobs)


def test_stop_strings_and_seeds(kit: ModelKit) -> None:
    ids = tokenize(kit, "Once upon a time there was a")
    once, again = ("".join(result.text for result in create_generator(kit, ids, max_tokens=30, temp=1.0, seed=5)) for _ in range(2))
    assert once == again

    results = list(create_generator(kit, ids, max_tokens=30, temp=1.0, seed=5, stop_strings=[once[3:6]]))

    assert results[-1].stop_condition is not None
    assert results[-1].stop_condition[:2] == ("stop_string", once[3:6])
    assert "".join(result.text for result in results) == once[:3]


def test_json_schemas_hold(kit: ModelKit) -> None:
    results = create_generator(kit, tokenize(kit, "Yes or no?"), json_schema='{"enum": ["yes", "no"]}', max_tokens=9)

    assert "".join(result.text for result in results) in {'"yes"', '"no"'}
    with pytest.raises(InvalidRequest, match="json_schema is no JSON"):
        create_generator(kit, [1], json_schema="{")


def test_an_answer_is_ended_from_outside_and_inside(kit: ModelKit) -> None:
    ids = tokenize(kit, "Count:")
    [end] = list(create_generator(kit, ids, prompt_progress_callback=lambda _: False))
    assert end.stop_condition is not None
    assert end.stop_condition.stop_reason == "user_cancelled"

    pieces = create_generator(kit, ids, max_tokens=400, request_id="long", logit_bias=None, temp=0.0)
    next(pieces)
    stopper = threading.Thread(target=cancel, args=(kit, "long"))
    stopper.start()
    rest = list(pieces)
    stopper.join()
    assert rest[-1].stop_condition is not None


def test_a_draft_model_changes_no_text(kit: ModelKit) -> None:
    ids = tokenize(kit, "The cat sat")
    plain = "".join(result.text for result in create_generator(kit, ids, max_tokens=12, temp=0.0))
    assert is_draft_model_compatible(kit, bundled_folder())
    assert not is_draft_model_compatible(kit, STORIES)
    with pytest.raises(InvalidRequest, match="vocabularies differ"):
        load_draft_model(kit, STORIES)

    load_draft_model(kit, bundled_folder())
    drafted = "".join(result.text for result in create_generator(kit, ids, max_tokens=12, temp=0.0))
    unload_draft_model(kit)

    assert drafted == plain


def test_what_has_no_meaning_here_is_refused(kit: ModelKit) -> None:
    with pytest.raises(UnsupportedField, match="trust_remote_code"):
        load_model(STORIES, trust_remote_code=True)
    with pytest.raises(UnsupportedField, match="images_b64"):
        create_generator(kit, [1], images_b64=["aGk="])
    with pytest.raises(ValueError, match="top_logprobs"):
        create_generator(kit, [1], top_logprobs=11)
    with pytest.raises(ModelNotFound):
        load_model("no-such-model")


def test_only_words() -> None:
    kit = load_model(STORIES, vocab_only=True)
    assert tokenize(kit, "Once upon") != []
    unload(kit)
    unload(kit)
