"""The environment with Deker: built once, whole or not at all."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.parity import environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Environments that were built: empty folders in place of real ones."""
    paths: list[Path] = []

    def build(path: Path) -> None:
        path.mkdir()
        time.sleep(0.05)
        paths.append(path)

    monkeypatch.setattr(environment, "FOLDER", tmp_path / "env-of-deker")
    monkeypatch.setattr(environment, "_build", build)
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    return paths


def test_several_callers_build_once(built: list[Path]) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(environment.deker_python())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert found == [built[0] / "bin" / "python"] * 4


def test_what_was_interrupted_is_built_again(
    built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> None:
        path.mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(environment, "_build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            environment.deker_python()
    environment.deker_python()
    assert len(built) == 1


def test_other_requirements_build_again(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    environment.deker_python()
    monkeypatch.setattr(environment, "REQUIREMENTS", ("deker==1.1.6",))
    environment.deker_python()
    assert len(built) == 2


def test_a_python_without_numpy_1_says_which_one_to_take(
    built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", _Version((3, 13, 1)))
    with pytest.raises(environment.DekerUnavailableError, match=r"PYTHON=python3\.11"):
        environment.deker_python()
    assert not built


class _Version(tuple[int, ...]):
    __slots__ = ()
    major = property(lambda self: self[0])
    minor = property(lambda self: self[1])
