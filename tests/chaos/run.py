"""Run the chaos rows and print a table: ``python -m tests.chaos.run --rows 1,3 --scale 0.1``.

With ``--sabotage ROW`` only that row runs, with its guard switched off, and the run is good if and
only if the row turned red: that shows that its test can fail.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from tests.chaos.rows import RunContext
from tests.kit import sabotage
from tests.kit.processes import left_behind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.rows import Row, RowResult

__all__ = ["Done", "main", "numbers", "run_row"]


@attrs.frozen
class Done:
    """A row that has run."""

    row: Row
    result: RowResult
    seconds: float
    seed: int

    @property
    def green(self) -> bool:
        return not self.result.failures and not self.result.errors

    @property
    def caught(self) -> bool:
        """Whether the promise was seen broken, and nothing else went wrong."""
        return bool(self.result.failures) and not self.result.errors


def numbers() -> list[int]:
    """Return the numbers of all rows that are there."""
    return sorted(int(path.stem[4:]) for path in Path(__file__).parent.glob("row_*.py"))


def load(number: int) -> Row:
    """Return a row by its number."""
    row: Row = importlib.import_module(f"tests.chaos.row_{number:02}").ROW
    return row


def run_row(number: int, *, scale: float, seed: int, sabotaged: bool = False) -> Done:
    """Run one row in a folder of its own; what it raises turns the row red, too.

    The folder of a row that turned red, unless by sabotage, is kept to be looked at.
    """
    row = load(number)
    # A path to a socket may have 104 bytes, and a memory file system spares the disk what kills
    # cannot show anyway: they leave the page cache as it is. Rows that need a disk say so.
    shared = Path("/dev/shm")  # noqa: S108
    base = os.environ.get("TMPDIR") or (shared if os.access(shared, os.W_OK) else None)
    folder = Path(tempfile.mkdtemp(prefix=f"dc{number:02}-", dir=base))

    def report(text: str) -> None:
        print(f"  row {number:2}: {text}", flush=True)

    context = RunContext(scale=scale, seed=seed, folder=folder, sabotaged=sabotaged, report=report)
    begin = time.monotonic()
    try:
        result = row.run(context)
    except Exception:  # noqa: BLE001 - whatever goes wrong, the row is red and others go on
        result = context.result(0)
        result.errors.append(f"the row did not end:\n{traceback.format_exc()}")
    # Services end by themselves some moments after their last user.
    limit = time.monotonic() + 35
    while (left := left_behind(folder)) and time.monotonic() < limit:
        time.sleep(0.1)
    if left:
        result.errors.append(f"processes were left behind: {left}")
    done = Done(row, result, time.monotonic() - begin, seed)
    if done.green or sabotaged:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        report(f"kept: {folder}")
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 0 when all is as it should be."""
    wish = _parsed(arguments)
    seed = wish.seed if wish.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, scale {wish.scale:g}", flush=True)
    sabotaged = wish.sabotage is not None
    rows = [wish.sabotage] if sabotaged else wish.rows
    if sabotaged:
        sabotage.apply(str(wish.sabotage))
        os.environ[sabotage.VARIABLE] = str(wish.sabotage)
        print(f"sabotage of row {wish.sabotage}: {load(wish.sabotage).sabotage}", flush=True)
    done = []
    for number in rows:
        print(f"row {number}: {load(number).promise}", flush=True)
        done.append(run_row(number, scale=wish.scale, seed=seed + number, sabotaged=sabotaged))
        _tell(done[-1])
    print()
    print(_table(done, sabotaged=sabotaged))
    red = ",".join(str(each.row.number) for each in done if not each.green)
    if red and not sabotaged:
        print(f"again: make chaos SEED={seed} SCALE={wish.scale:g} ROWS={red}")
    if wish.json:
        Path(wish.json).write_text(json.dumps(_record(done, seed, wish.scale), indent=1) + "\n")
    return int(not all(each.caught if sabotaged else each.green for each in done))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run")
    parser.add_argument("--rows", default="", help="numbers, separated by commas; all if missing")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full runs")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--sabotage", help="number of the one row to run with its guard off")
    parser.add_argument("--json", help="write the table to this file, too")
    wish = parser.parse_args(arguments)
    known = numbers()
    try:
        wish.rows = [int(word) for word in wish.rows.split(",") if word] or known
        wish.sabotage = int(wish.sabotage) if wish.sabotage else None
    except ValueError as error:
        parser.error(str(error))
    for number in [*wish.rows, *([wish.sabotage] if wish.sabotage else [])]:
        if number not in known:
            parser.error(f"there is no row {number}; there are {', '.join(map(str, known))}")
    return wish


def _tell(done: Done) -> None:
    for text in done.result.errors:
        print(f"  error: {text}", flush=True)
    word = "green" if done.green else "RED"
    print(f"  {word} after {done.seconds:.0f} s: {_notes(done)}", flush=True)


def _notes(done: Done) -> str:
    return ", ".join(f"{name} {value}" for name, value in done.result.notes.items())


def _table(done: Sequence[Done], *, sabotaged: bool) -> str:
    lines = [("row", "promise", "runs", "", "s", "result")]
    for each in done:
        if sabotaged:
            missed = "ERROR" if each.result.errors else "GREEN IN SPITE OF SABOTAGE"
            verdict = "red, as it must be" if each.caught else missed
        else:
            verdict = "pass" if each.green else "FAIL"
        result = _notes(each)
        for word in ("failures", "errors"):
            if found := len(getattr(each.result, word)):
                result += f"; {found} {word}"
        lines.append(
            (
                str(each.row.number),
                each.row.promise,
                f"{each.result.runs} of {each.row.runs}",
                verdict,
                f"{each.seconds:.0f}",
                result,
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _record(done: Sequence[Done], seed: int, scale: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "scale": scale,
        "rows": [
            {
                "row": each.row.number,
                "promise": each.row.promise,
                "runs": each.result.runs,
                "of": each.row.runs,
                "failures": each.result.failures,
                "errors": each.result.errors,
                "notes": each.result.notes,
                "seconds": round(each.seconds, 1),
                "seed": each.seed,
            }
            for each in done
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
