"""``python -m tests.parity.campaign``: run programs on Deker and on deker_cluster, and report.

Ends with status 1 if the two sides differ in a way that no intended difference explains, if a long
run never met one of them, or if two of them fit one difference.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tests.parity.comparing import Tally, compare
from tests.parity.draw_program import draw_program
from tests.parity.environment import deker_python
from tests.parity.intended import INTENDED
from tests.parity.pending import PENDING
from tests.parity.programs import Program, Step
from tests.parity.scripted import SCRIPTED
from tests.parity.sides import DekerDiedError, Sides

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.parity.comparing import Difference

__all__ = ["Report", "run_programs", "run_random", "run_scripted"]

_PART = 100
"""Programs that share a storage."""

_ENOUGH = 1000
"""Programs after which every intended difference must have been met."""

_CLEAN = "[c.delete() for c in client if c.name.startswith({name!r})] and None"


@attrs.define
class Report:
    """The result of a run: what was counted, and one text for each program that went wrong."""

    tally: Tally = attrs.field(factory=Tally)
    failures: list[str] = attrs.field(factory=list)

    def stale(self) -> list[str]:
        """Return the intended differences that were never met."""
        return [entry.id for entry in (*INTENDED, *PENDING) if not self.tally.used[entry.id]]

    def add(self, other: Report) -> None:
        """Take over what another run has shown."""
        for name in attrs.fields_dict(Tally):
            setattr(self.tally, name, getattr(self.tally, name) + getattr(other.tally, name))
        self.failures += other.failures

    def __str__(self) -> str:
        tally = self.tally
        lines = [f"{count:7,}  {name}" for name, count in sorted(tally.used.items())]
        known = f"{len(INTENDED)} listed" + (f", {len(PENDING)} pending" if PENDING else "")
        lines += [
            f"{tally.programs:,} programs, {tally.steps:,} steps",
            f"{tally.comparisons:,} comparisons, {tally.errors:,} of them of errors",
            f"{sum(tally.used.values()):,} intended differences, {len(tally.used)} kinds ({known})",
            f"{len(tally.unexplained)} unexplained differences",
            f"{len(tally.ambiguous)} with more than one explanation",
        ]
        return "\n".join(lines)


def run_programs(programs: Iterable[Program], sides: Sides, report: Report) -> None:
    """Run programs and add what they show to `report`."""
    for program in programs:
        before = len(report.tally.ambiguous)
        try:
            deker, here = sides.run(program.steps)
        except DekerDiedError as error:
            report.failures.append(f"Deker's process died: {error}\n{program}")
            continue
        bad = compare(program, deker, here, (*INTENDED, *PENDING), report.tally)
        if bad:
            report.failures.append(f"{bad[0]}\n\nsmallest program:\n{_minimal(bad[0], sides)}")
        for difference, names in report.tally.ambiguous[before:]:
            report.failures.append(f"{difference}\nexplained by {' and by '.join(names)}")


def run_scripted(folder: Path) -> Report:
    """Run the scripted programs; some leave a storage of Deker's that breaks other programs."""
    return _run(SCRIPTED, folder)


def run_random(seeds: Iterable[int], folder: Path) -> Report:
    """Run the random programs of these seeds on one storage."""
    return _run(map(draw_program, seeds), folder)


def _run(programs: Iterable[Program], folder: Path) -> Report:
    report = Report()
    with warnings.catch_warnings(), Sides(folder) as sides:
        warnings.simplefilter("error")
        run_programs(programs, sides, report)
    return report


def _minimal(difference: Difference, sides: Sides) -> Program:
    """Drop steps as long as the last one still shows the difference."""
    program, last = difference.program, difference.step
    steps = list(program.steps[: program.steps.index(last)])
    clean = Step(_CLEAN.format(name=program.name), kind="clean")
    for at in reversed(range(len(steps))):
        fewer = steps[:at] + steps[at + 1 :]
        tried = attrs.evolve(program, steps=(clean, *fewer, last))
        try:
            deker, here = sides.run(tried.steps)
        except DekerDiedError:
            break
        if last in (bad.step for bad in compare(tried, deker, here, INTENDED, Tally())):
            steps = fewer
    return attrs.evolve(program, steps=(*steps, last))


def main() -> int:
    """Run as many programs as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=2000, help="random programs")
    parser.add_argument("--seed", type=int, default=1, help="of the first one; they count up")
    arguments = parser.parse_args()
    started = time.monotonic()
    seeds = range(arguments.seed, arguments.seed + arguments.programs)
    report = Report()
    # Spawned: each process has clients, and a process of Deker's, of its own.
    processes = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder, processes:
        deker_python()
        parts = [processes.submit(run_scripted, Path(folder) / "scripted")]
        for first in range(0, len(seeds), _PART):
            part = seeds[first : first + _PART]
            parts.append(processes.submit(run_random, part, Path(folder) / f"random-{first}"))
        for done in as_completed(parts):
            report.add(done.result())
            seconds = time.monotonic() - started
            print(f"{report.tally.programs:,} programs after {seconds:.0f} s", flush=True)
    for failure in report.failures:
        print(failure, end="\n\n")
    print(report)
    # A few programs may well miss one.
    stale = report.stale() if arguments.programs >= _ENOUGH else []
    if stale:
        print(f"never met, so no longer true or no longer tried: {', '.join(stale)}")
    print(
        f"seed {arguments.seed}, {arguments.programs} random programs, {len(SCRIPTED)} scripted, "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if report.failures or stale else 0


if __name__ == "__main__":
    sys.exit(main())
