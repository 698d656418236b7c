"""docs/consistency.md names a test for each promise: they must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "consistency.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT))
    assert len(named) > 40
    assert len(named) == len(set(re.findall(r"`[^`\n]*test_[^`\n]*::[^`\n]*`", TEXT)))
    assert sorted(named - existing()) == []


def existing() -> set[tuple[str, str]]:
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found.add((path.name, node.name))
    return found


def test_every_row_that_is_named_exists_and_the_other_way_round() -> None:
    lists = re.findall(r"\b[Rr]ows? ((?:\d+, )*\d+)", TEXT)
    named = {int(number) for numbers in lists for number in numbers.split(", ")}
    there = {int(path.stem[4:]) for path in (ROOT / "tests" / "chaos").glob("row_*.py")}
    assert named - there == set()
    # Row 14 is about what comes from outside, not about consistency.
    assert there - named <= {14}
