from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deker_coordinator.cli.slices import parse_slice


class Index:
    def __getitem__(self, index: Any) -> Any:
        return index


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "+2",
        "0:10",
        ":",
        "::2",
        "::-1",
        "-5:",
        "0:10, 5, ::2",
        "5,",
        "...",
        "..., 3",
        "1.5:2.5",
        "-1.5",
        "1e3",
        "'2023-01'",
        "'2023-01':'2023-03', :",
        '"a label, with: marks]"',
        "[1, 5, -3]",
        "['a', 'b'], :",
        " 1 , 2 ",
        "(1, 2)",
    ],
)
def test_a_slice_is_what_python_takes_it_for(text: str) -> None:
    assert parse_slice(text) == eval(f"Index()[{text}]")  # noqa: S307 - of this test's own making


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "x",
        "a:b",
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        "0][1",
        "0] + _[1",
        "0]; import os; _[0",
        "(lambda: 0)()",
        "1 if 1 else 2",
        "1 + 1",
        "True",
        "None",
        "b'bytes'",
        "1j",
        "-'a'",
        "--1",
        "not 1",
        "[[1]]",
        "[1:2]",
        "{1}",
        "()",
        "1, (2, 3)",
        "f'{1}'",
        "x := 1",
        "*x",
        "\0",
        "1" * 20_000,
        "(" * 5_000,
        "-" * 9_000 + "1",
    ],
    ids=lambda text: text[:20],
)
def test_nothing_else_is_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"slice|quotes"):
        parse_slice(text)


@given(st.text(max_size=60))
def test_any_text_is_a_slice_or_refused(text: str) -> None:
    try:
        found = parse_slice(text)
    except ValueError:
        return
    parts = found if isinstance(found, tuple) else (found,)
    assert all(isinstance(part, int | float | str | slice | list | type(...)) for part in parts)
