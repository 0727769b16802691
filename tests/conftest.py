"""What holds for every test: a clean environment, and no suite left out in silence."""

import gc
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pomona.models.cpu.blas import prepare_blas

# Suites that need more than a plain machine; pyproject.toml says what. Ask for one with -m NAME.
SUITES = ("gpu", "mac", "network", "torch", "soak", "chaos", "clients", "weights")

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a machine with much other work must fail no test

left_out = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the developer's own settings, and the internet, out of the tests."""
    config.stash[left_out] = Counter()
    for name in [name for name in os.environ if name.startswith("POMONA_")]:
        del os.environ[name]
    os.environ["XDG_DATA_HOME"] = str(Path(config.rootpath) / ".pytest_cache" / "data")  # else the developer's API keys close the servers
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    prepare_blas("auto", Path(config.rootpath) / ".pytest_cache")  # as an engine process does, before anything imports MLX


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the special suites, unless -m says what to run."""
    if not config.getoption("-m"):
        special = [item for item in items if suites_of(item)]
        items[:] = [item for item in items if not suites_of(item)]
        config.hook.pytest_deselected(items=special)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def left_behind() -> Generator[None]:
    """Files and processes that nobody closed fail the last test of their own module, not any test that happens to run later."""
    yield
    gc.collect()


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what does not run, whoever decided so."""
    for item in items:
        item.config.stash[left_out].update(suites_of(item))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the suites that did not run."""
    counts = config.stash[left_out]
    if counts:
        named = ", ".join(f"{suite} ({counts[suite]})" for suite in SUITES if counts[suite])
        terminalreporter.write_line(f"suites not run: {named}. Run one with -m NAME; `pytest --markers` says what each needs.", yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip is a failure: a test that needs more than a plain machine belongs to a suite."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if isinstance(reporter, pytest.TerminalReporter) and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line("\nTests were skipped (see below). Mark them with a suite instead.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def suites_of(item: pytest.Item) -> list[str]:
    """The special suites that a test belongs to."""
    return [suite for suite in SUITES if item.get_closest_marker(suite)]
