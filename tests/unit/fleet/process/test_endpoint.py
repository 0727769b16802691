import os
import stat
import tempfile
from pathlib import Path

import pytest

from pomona.fleet.process.endpoint import LONGEST_PATH, PREFIX, Endpoint, sweep_endpoints


def folders(parent: Path) -> list[Path]:
    return sorted(parent.glob(f"{PREFIX}*"))


def test_only_the_user_can_enter_it(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path)
    [folder] = folders(tmp_path)
    assert endpoint.address == f"ipc://{folder}/socket"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    endpoint.remove()
    endpoint.remove()
    assert folders(tmp_path) == []


def test_a_sweep_leaves_what_is_in_use_and_removes_what_is_not(tmp_path: Path) -> None:
    in_use = Endpoint(tmp_path)
    left_behind = tmp_path / f"{PREFIX}left"
    left_behind.mkdir()
    (left_behind / "socket").touch()
    unrelated = tmp_path / "pomona-other"
    unrelated.mkdir()
    sweep_endpoints(tmp_path)
    assert [str(folder) for folder in folders(tmp_path)] == [in_use.address.removeprefix("ipc://").removesuffix("/socket")]
    assert unrelated.is_dir()
    in_use.remove()


def test_a_sweep_follows_no_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(precious)
    sweep_endpoints(tmp_path)
    assert (precious / "file").exists()


def test_the_path_fits_into_a_socket_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * LONGEST_PATH)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    endpoint = Endpoint()
    assert len(os.fsencode(endpoint.address.removeprefix("ipc://"))) <= LONGEST_PATH
    assert folders(deep) == []
    endpoint.remove()
