"""The laws for prompts with pictures: batched == alone, cached == uncached, chunked == whole; and what is computed how often."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

import pytest

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import Prompt, PromptPicture, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from pomona.engine.process.building import build_engine
from pomona.models.device import use_device
from pomona.models.loading import LoadedModel, load
from pomona.models.references import ResolvedModel
from tests.engine.harness import ROOMY
from tests.golden.picture_cases import PICTURE_NAMES, PicturePrompt, read_picture_golden

LONG = 48
"""Tokens of answers that outgrow their pages."""
GREEDY = SamplingParams(temperature=0.0)
Open = Callable[..., Engine]


@cache
def loaded(name: str) -> LoadedModel:
    folder = read_picture_golden(name).folder
    return load(ResolvedModel(id=name, path=folder, kind="folder", reference=name), use_device("cpu"))


@cache
def prompts(name: str) -> tuple[PicturePrompt, ...]:
    return read_picture_golden(name).prompts


def open_engine(name: str, **settings: object) -> Engine:
    return build_engine(loaded(name), EngineSettings.model_validate({"page_tokens": 8, "kv_cache_bytes": ROOMY, **settings}))


def run(engine: Engine, rows: Iterable[Prompt], *, after: int = 0) -> dict[str, list[int]]:
    """The greedy ids of each row; `after` steps lie between one arrival and the next."""
    made: dict[str, list[int]] = {}
    for row in rows:
        engine.add(row)
        for _ in range(after):
            collect(engine, made)
    while engine.has_work:
        collect(engine, made)
    engine.check_integrity()
    return made


def collect(engine: Engine, made: dict[str, list[int]]) -> None:
    for row, step in engine.step():
        assert step.failure is None
        made.setdefault(row, []).extend(step.token_ids)


def other_picture(picture: PromptPicture) -> PromptPicture:
    """Another picture of the same size in the same place."""
    return replace(picture, pixels=bytes(255 - value for value in picture.pixels), digest=bytes(reversed(picture.digest)))


@pytest.mark.parametrize("name", PICTURE_NAMES)
@pytest.mark.parametrize("after", [0, 3])
def test_rows_with_and_without_pictures_answer_in_a_batch_as_alone(name: str, after: int) -> None:
    engine = open_engine(name, prefix_cache=False)
    rows = [prompt.prompt(f"{index}", GREEDY) for index, prompt in enumerate(prompts(name))]
    assert run(engine, rows, after=after) == {f"{index}": list(prompt.greedy) for index, prompt in enumerate(prompts(name))}


@pytest.mark.parametrize("name", PICTURE_NAMES)
@pytest.mark.parametrize("budget", [16, 512])
def test_prompts_in_chunks_answer_as_whole_ones(name: str, budget: int) -> None:
    engine = open_engine(name, step_token_budget=budget)
    for index, prompt in enumerate(prompts(name)):
        assert run(engine, [prompt.prompt(f"{index}", GREEDY)]) == {f"{index}": list(prompt.greedy)}


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_a_repeated_prompt_takes_pages_from_the_prefix_cache_and_makes_no_features(name: str) -> None:
    engine, prompt = open_engine(name), prompts(name)[2]
    assert run(engine, [prompt.prompt("first", GREEDY)])["first"] == list(prompt.greedy)
    assert engine.stats().pictures_made == 2
    engine.add(prompt.prompt("again", GREEDY))
    again: dict[str, list[int]] = {}
    cached = 0
    while engine.has_work:
        for row, step in engine.step():
            again.setdefault(row, []).extend(step.token_ids)
            cached = max(cached, step.cached_tokens)
    assert again["again"] == list(prompt.greedy)
    assert cached == (len(prompt.token_ids) - 1) // 8 * 8
    assert engine.stats().pictures_made == 2


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_a_picture_that_was_seen_elsewhere_is_not_computed_again(name: str) -> None:
    engine, prompt = open_engine(name, prefix_cache=False), prompts(name)[1]
    run(engine, [prompt.prompt("first", GREEDY)])
    later = replace(prompt.prompt("later", GREEDY), token_ids=(5, *prompt.token_ids))
    later = replace(later, pictures=tuple(replace(each, start=each.start + 1) for each in later.pictures))
    expected = run(open_engine(name, prefix_cache=False), [later])
    assert run(engine, [later]) == expected
    stats = engine.stats()
    assert (stats.pictures_made, stats.pictures_spared) == (1, 1)
    assert stats.picture_bytes > 0


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_equal_ids_with_another_picture_share_only_what_lies_before_it(name: str) -> None:
    engine, prompt = open_engine(name), prompts(name)[1]
    row = prompt.prompt("other", GREEDY)
    row = replace(row, pictures=tuple(other_picture(each) for each in row.pictures))
    expected = run(open_engine(name, prefix_cache=False), [row])
    assert run(engine, [prompt.prompt("first", GREEDY)])["first"] == list(prompt.greedy)
    assert run(engine, [row]) == expected


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_rows_that_were_put_back_answer_as_others(name: str) -> None:
    prompt = prompts(name)[2]
    pages = 2 * -(-(len(prompt.token_ids) + LONG) // 8) - 1  # one is the trash page: two rows begin, and cannot both end
    rows = [prompt.prompt(f"{index}", GREEDY, max_tokens=LONG) for index in range(3)]
    expected = run(open_engine(name), rows)
    engine = open_engine(name, kv_cache_bytes=pages * open_engine(name).page_bytes, prefix_cache=False, step_token_budget=16)
    assert run(engine, rows) == expected
    assert engine.stats().preemptions > 0


@pytest.mark.parametrize("name", PICTURE_NAMES)
def test_guessing_ahead_changes_nothing(name: str) -> None:
    rows = [prompts(name)[index].prompt(f"{index}", GREEDY, max_tokens=LONG) for index in range(3)]
    expected = run(open_engine(name, speculation="off"), rows)
    assert run(open_engine(name, speculation="lookup"), rows) == expected


def test_features_give_way_when_their_room_is_full() -> None:
    name = PICTURE_NAMES[0]
    engine = open_engine(name, prefix_cache=False, picture_cache_bytes=2000)
    for number in range(3):
        for index in (1, 2):
            assert run(engine, [prompts(name)[index].prompt(f"{number} {index}", GREEDY)])
    assert 0 < engine.stats().picture_bytes <= 2000
    assert engine.stats().pictures_made > 3


def test_without_room_for_features_each_use_computes_them() -> None:
    name = PICTURE_NAMES[0]
    engine, prompt = open_engine(name, prefix_cache=False, picture_cache_bytes=0), prompts(name)[1]
    for number in range(2):
        assert run(engine, [prompt.prompt(f"{number}", GREEDY)]) == {f"{number}": list(prompt.greedy)}
    assert (engine.stats().pictures_made, engine.stats().picture_bytes) == (2, 0)


@pytest.mark.parametrize("steps", range(1, 6))
def test_cancelling_at_any_time_frees_everything(steps: int) -> None:
    name = PICTURE_NAMES[0]
    engine = open_engine(name, step_token_budget=16, prefix_cache=False)
    engine.add(prompts(name)[2].prompt("gone", GREEDY))
    for _ in range(steps):
        engine.step()
    engine.cancel("gone")
    while engine.has_work:
        engine.step()
    engine.check_integrity()
    assert engine.stats().pages_used == 0


def test_one_step_makes_the_features_of_one_picture() -> None:
    name = PICTURE_NAMES[0]
    engine = open_engine(name)
    engine.add(prompts(name)[0].prompt("text", replace(GREEDY)))
    engine.step()
    engine.add(prompts(name)[2].prompt("pictures", GREEDY))
    made: list[int] = []
    tokens: list[str] = []
    while engine.has_work:
        tokens += [row for row, step in engine.step() if step.token_ids]
        made.append(engine.stats().pictures_made)
    assert max(after - before for before, after in itertools.pairwise(made)) == 1
    assert tokens[:2] == ["text", "text"]


def test_pictures_that_do_not_fit_their_places_are_refused() -> None:
    name = PICTURE_NAMES[0]
    engine, row = open_engine(name), prompts(name)[1].prompt("row", GREEDY)
    picture = row.pictures[0]
    for wrong, words in (
        (replace(picture, start=picture.start + 1), "no size and no pattern"),
        (replace(picture, width=picture.height, height=picture.width, length=picture.length - 1), "no size and no pattern"),
        (replace(picture, pixels=picture.pixels[:-3]), "bytes of pixels, not 40 x 24 x 3"),
        (replace(picture, start=len(row.token_ids) - 2), "must lie within the prompt"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            engine.add(replace(row, pictures=(wrong,)))
    assert not engine.has_work


def test_models_without_a_vision_part_refuse_pictures(text_engine: Engine) -> None:
    row = prompts(PICTURE_NAMES[0])[1].prompt("row", GREEDY)
    with pytest.raises(UnsupportedField, match="takes no pictures"):
        text_engine.add(replace(row, token_ids=row.token_ids))


@pytest.fixture
def text_engine() -> Engine:
    from tests.engine.harness import family

    built = family("llama")
    return Engine(built.module, EngineSettings(page_tokens=8, kv_cache_bytes=ROOMY), vocabulary=200, max_context=built.max_context)
