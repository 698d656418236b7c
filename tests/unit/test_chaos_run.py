"""The runner of the chaos rows: what counts as green, as red, and as a sabotage that was seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.chaos import run as runner
from tests.chaos.rows import Row, RowResult, RunContext
from tests.kit import sabotage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs a row 1 that does what is given; no guard is really switched off."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(sabotage.VARIABLE, "")
    monkeypatch.setattr(sabotage, "apply", lambda _: None)

    def call(body: Callable[[RunContext], RowResult], *words: str) -> int:
        row = Row(number=1, promise="all is well", runs="10", run=body, sabotage="nothing is")
        monkeypatch.setattr(runner, "load", lambda _: row)
        return runner.main(["--scale", "0.5", "--seed", "7", *(words or ("--rows", "1"))])

    return call


def good(context: RunContext) -> RowResult:
    (context.folder / "file").write_text("")
    context.check(True, "never")
    return context.result(context.count(10), turns=3)


def bad(context: RunContext) -> RowResult:
    context.check(False, "it was lost")
    return context.result(1)


def broken(context: RunContext) -> RowResult:
    context.check(False, "it was lost")
    raise ZeroDivisionError


def test_a_good_row_passes(
    main: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(good, "--rows", "1", "--json", str(tmp_path / "table.json")) == 0
    told = capsys.readouterr().out
    assert told.startswith("seed 7, scale 0.5")
    assert "5 of 10" in told
    assert "pass" in told
    assert "turns 3" in told
    record = json.loads((tmp_path / "table.json").read_text())
    assert (record["seed"], record["rows"][0]["runs"], record["rows"][0]["failures"]) == (7, 5, [])
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"], "its folder is gone"


def test_a_broken_promise_and_a_broken_test_fail(
    main: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(bad) == 1
    told = capsys.readouterr().out
    assert "failure: it was lost" in told
    assert "again: make chaos SEED=7 SCALE=0.5 ROWS=1" in told
    assert main(broken) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_all_failures_are_told_and_only_what_failed_is_kept(
    main: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def body(context: RunContext) -> RowResult:
        for number in range(12):
            folder = context.folder / f"case{number}"
            folder.mkdir()
            with context.case(f"case {number}", folder):
                context.check(number % 2, f"case {number} went wrong")
        return context.result(12)

    assert main(body) == 1
    told = capsys.readouterr().out
    (kept,) = tmp_path.iterdir()
    assert f"kept: {kept}" in told
    assert {path.name for path in kept.iterdir()} == {f"case{each}" for each in range(0, 12, 2)}
    for each in range(0, 12, 2):
        assert f"failure: case {each} went wrong" in told
    assert main(body, "--sabotage", "1") == 0
    assert list(tmp_path.iterdir()) == [kept], "nobody looks into those of a sabotage"


def test_sabotage_must_break_the_promise_and_nothing_else(
    main: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(bad, "--sabotage", "1") == 0
    assert "red, as it must be" in capsys.readouterr().out
    assert main(good, "--sabotage", "1") == 1
    assert "GREEN IN SPITE OF SABOTAGE" in capsys.readouterr().out
    assert main(broken, "--sabotage", "1") == 1
    assert "ERROR" in capsys.readouterr().out


def test_unknown_rows_are_refused() -> None:
    with pytest.raises(SystemExit):
        runner.main(["--rows", "99"])
    with pytest.raises(SystemExit):
        runner.main(["--rows", "one"])


def test_runs_by_scale(tmp_path: Path) -> None:
    def context(scale: float) -> RunContext:
        return RunContext(scale, 1, tmp_path, sabotaged=False, report=lambda _: None)

    assert [context(scale).count(200) for scale in (1, 0.5, 0.0001)] == [200, 100, 1]
    assert context(0.0001).count(200, least=8) == 8
    assert context(0.0001).count(5, least=8) == 5


def test_edits_of_the_server_functions_must_apply() -> None:
    with pytest.raises(AssertionError, match="0 times"):
        sabotage.edit_library(("no such text in there", ""))
