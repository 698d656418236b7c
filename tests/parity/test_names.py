"""``docs/from-deker.md``: a row for every public name of Deker, and what it says is so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.parity.document import PAGE, rewrite
from tests.parity.programs import Step
from tests.parity.sides import Sides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = (
    "__import__('tests.parity.public_names', fromlist=['public_names']).public_names(deker, root)"
)
STATES = ("same", "extended", "different")


@pytest.fixture(scope="module")
def names(
    tmp_path_factory: pytest.TempPathFactory, deker_python: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Public names of Deker and of this package, with parameters."""
    with Sides(tmp_path_factory.mktemp("names") / "sides") as sides:
        outcomes = sides.run([Step(NAMES)])
    deker, ours = ({key[1]: item for key, item in side[0]["value"][1]} for side in outcomes)
    return deker, ours


@pytest.fixture(scope="module")
def rows() -> dict[str, str]:
    """Deker's name to what the table says."""
    page = PAGE.read_text(encoding="utf-8").split("## What differs")[0]
    found = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|[^|]*\|$", page, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found)
    return {name: state.strip() for name, state in found}


def test_every_name_of_deker_has_a_row(
    names: tuple[dict[str, Any], dict[str, Any]], rows: dict[str, str]
) -> None:
    deker, _ = names
    assert len(deker) > 200
    own = {name for name in rows if name.startswith("deker_local_adapters.")}
    assert sorted(set(rows) - own) == sorted(deker)


def test_every_name_that_has_a_row_exists_here(
    names: tuple[dict[str, Any], dict[str, Any]], rows: dict[str, str]
) -> None:
    _, ours = names
    for name, state in rows.items():
        renamed = re.fullmatch(r"`([\w.]+)`", state)
        if state in STATES:
            assert name in ours
        elif renamed is not None:
            assert renamed[1] in ours
        else:
            assert state == "none"
            assert name not in ours


def test_arguments_and_defaults_are_dekers(
    names: tuple[dict[str, Any], dict[str, Any]], rows: dict[str, str]
) -> None:
    deker, ours = names
    wrong = {}
    for name, parameters in deker.items():
        if rows.get(name) in STATES and not _taken(parameters, ours.get(name)):
            wrong[name] = (parameters, ours.get(name))
    assert not wrong


def _taken(theirs: Any, ours: Any) -> bool:
    """Whether every call that fits their parameters fits ours, and means the same."""
    if theirs[0] == "none" or theirs == ours:
        return True
    if theirs[0] != "list":  # the default of a constructor's argument
        return False
    return ours is not None and ours[0] == "list" and ours[1][: len(theirs[1])] == theirs[1]


def test_the_list_of_differences_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rewrite(page) == page, "run python -m tests.parity.document"


def test_the_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text(encoding="utf-8").split("## What Deker does not have")[1]
    script = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    script = script.replace("/tmp/beyond-deker", str(tmp_path / "storage"))  # noqa: S108
    assert script.count("assert ") > 10
    space: dict[str, Any] = {}
    try:
        exec(compile(script, str(PAGE), "exec"), space)  # noqa: S102 - the page's own examples
    finally:
        close: Callable[[], None] = getattr(space.get("client"), "close", lambda: None)
        close()
