"""Measure the hot paths against plain limits and h5py: ``make bench``.

Every contender takes its turn in every round, and every result is compared with the source. What
counts are the ratios: seconds move with the machine and with whoever else uses it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import catalog_contests
from measure import Row, Times, run_contest, summarize
from places import open_places
from reads import read_contests
from report import describe_run, markdown_table, save
from rich.console import Console
from rich.markdown import Markdown
from workload import FULL, QUICK, make_field
from writes import write_contests

if TYPE_CHECKING:
    from workload import Size

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run all contests and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="64 MiB instead of 1 GiB")
    measure_all(QUICK if parser.parse_args().quick else FULL)


def measure_all(size: Size) -> None:
    """Run all contests and print one table."""
    console = Console(width=150)
    begin = time.perf_counter()
    RESULTS.mkdir(exist_ok=True)
    rows: list[Row] = []
    times: dict[str, Times] = {}
    with contextlib.ExitStack() as stack:
        # Beside the results, not in the folder for temporary files: that may be memory.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=RESULTS, prefix="data-")))
        field = make_field(size.shape)
        console.print("starting a storage in library mode, and a cluster of two nodes")
        places = stack.enter_context(open_places(folder, 4 * size.nbytes))
        about = describe_run(places, size, folder)
        for contest in itertools.chain(
            read_contests(places, field, size),
            write_contests(places, field, size, folder / "limits"),
            catalog_contests(places, size),
        ):
            measured = run_contest(contest)
            rows += summarize(contest, measured)
            ours = ", ".join(c.name for c in contest.contenders if not c.limit)
            times[f"{contest.workload}, {ours}"] = measured
            console.print(f"{time.perf_counter() - begin:5.0f} s  {contest.workload}: done")
    about["load_at_end"] = round(os.getloadavg()[0], 1)
    for name, value in about.items():
        console.print(f"{name}: {value}", markup=False, highlight=False)
    table = markdown_table(rows)
    console.print(Markdown(table))
    stem = time.strftime("%Y%m%d-%H%M%S")
    save(RESULTS / f"{stem}.json", about, rows, times)
    (RESULTS / f"{stem}.md").write_text(table + "\n")
    console.print(f"all figures: {RESULTS / stem}.json")


if __name__ == "__main__":
    main()
