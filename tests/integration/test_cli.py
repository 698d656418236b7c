from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from deker_coordinator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client


def run(*words: str, **variables: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, words, env=variables)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_status_shows_shards_and_durability(client: Client) -> None:
    code, text = run("status", f"file://{client.root_path}")
    assert code == 0
    assert "appendfsync always" in text
    assert "shards/s0" in text
    assert run("status", DEKER_CLUSTER_URI=f"file://{client.root_path}") == (code, text)


@pytest.mark.parametrize("command", ["start", "status"])
def test_a_registry_that_does_not_answer(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deker_coordinator.cli.connect_ray", lambda _: None)
    words = ["--data-dir", "/nowhere"] if command == "start" else []
    code, text = run(command, "deker://:canary@127.0.0.1:1/x", *words)
    assert code == 1
    assert "did not answer" in text
    assert "canary" not in text


def test_status_of_nothing_makes_nothing(tmp_path: Path) -> None:
    code, text = run("status", f"file://{tmp_path / 'nothing'}")
    assert code == 1
    assert "holds no storage" in text
    assert not (tmp_path / "nothing").exists()


def test_a_directory_needs_no_start(tmp_path: Path) -> None:
    code, text = run("start", f"deker://{tmp_path}/x", "--data-dir", str(tmp_path))
    assert code == 1
    assert "start by themselves" in text
    assert list(tmp_path.iterdir()) == []
