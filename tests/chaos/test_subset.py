"""A few runs of each row, in minutes less than `make chaos`; and some sabotage that it must see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.run import numbers
from tests.kit.sabotage import known
from tests.kit.syscalls import have_strace

QUICK = dict.fromkeys((5, 6, 7, 9, 10, 14), 0.02) | {
    1: 0.04,
    3: 0.01,
    4: 0.02,
    8: 0.05,
    11: 0.01,
    12: 0.004,
    13: 0.03,
}
"""Row -> scale."""
SABOTAGED = {3: 0.01, 4: 0.04, 6: 0.02, 8: 0.02, 10: 0.02, 13: 0.06}


def chaos(*words: object) -> str:
    """Run it in a process of its own: sabotage cannot be taken back."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.run", *map(str, words)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=240,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{late}:\n{(late.stdout or b'').decode()}") from None
    told = done.stdout.decode()
    print(told)
    assert done.returncode == 0, told
    return told


def require_tracing(row: int) -> None:
    if row == 6 and not have_strace():
        pytest.skip("row 6 needs strace, and the right to trace own processes")


@pytest.mark.parametrize("row", QUICK)
def test_a_row_is_green(row: int) -> None:
    require_tracing(row)
    assert "seed " in chaos("--rows", row, "--scale", QUICK[row])


@pytest.mark.parametrize("row", SABOTAGED)
def test_sabotage_turns_a_row_red(row: int) -> None:
    require_tracing(row)
    told = chaos("--sabotage", row, "--scale", SABOTAGED[row])
    assert "red, as it must be" in told


def test_every_row_has_its_sabotage() -> None:
    assert set(numbers()) <= set(known())


def test_a_row_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AssertionError, match="there is no row 99"):
        chaos("--rows", 99)
