"""Run the suite: ``python -m benchmarks.suite --size quick``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import psutil
from rich.console import Console

from benchmarks.suite.bench import Bench
from benchmarks.suite.contenders import CONTENDERS
from benchmarks.suite.data import SIZES
from benchmarks.suite.driver import ContenderFailedError
from benchmarks.suite.record import Missing
from benchmarks.suite.table import markdown
from benchmarks.suite.targets import TARGETS, judge
from benchmarks.suite.workloads import WORKLOADS, run_workload, variants

RESULTS = Path(__file__).parents[1] / "results"


def main() -> int:
    """Run what was asked for; return 1 if any result was wrong."""
    options = _options()
    console = Console(width=140, highlight=False)
    begin = time.perf_counter()

    def say(text: str) -> None:
        console.print(f"{time.perf_counter() - begin:5.0f} s  {text}", markup=False)

    options.out.mkdir(parents=True, exist_ok=True)
    cores = tuple(sorted(os.sched_getaffinity(0)))[: options.cores]
    with contextlib.ExitStack() as stack:
        # Beside the results, not in the folder for temporary files: that may be memory.
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=options.out, prefix="data-"))
        )
        bench = Bench(
            SIZES[options.size], options.rounds, folder, cores, say, frozenset(options.contenders)
        )
        stack.callback(bench.close)
        about = _about(bench, options.out)
        for name in options.only:
            for variant in variants(name):
                try:
                    run_workload(name, variant, bench)
                except ContenderFailedError as error:
                    bench.missing.append(Missing("everybody", str(error), f"{name} {variant}"))
                    say(f"missing: {name} {variant}: {error}")
                else:
                    say(f"{name} {variant}: done")
        bench.forget_all()
    about["load at the end"] = f"{os.getloadavg()[0]:.1f}"
    about["duration"] = f"{time.perf_counter() - begin:.0f} s"
    about |= bench.about
    _save(options.out, bench, about)
    text = markdown(about, bench.measurements, bench.missing)
    (options.out / "results.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False, soft_wrap=True)
    wrong = [m for m in bench.measurements if not m.checked]
    for measurement in wrong:
        say(f"wrong result: {measurement.workload} {measurement.variant} {measurement.contender}")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="quick")
    parser.add_argument(
        "--only",
        type=lambda text: _chosen(text, WORKLOADS),
        default=list(WORKLOADS),
        help=f"some of {','.join(WORKLOADS)}",
    )
    parser.add_argument(
        "--contenders",
        type=lambda text: _chosen(text, CONTENDERS),
        default=[],
        help=f"some of {','.join(CONTENDERS)}; all by default",
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cores", type=int, default=2, help="on how many cores all of them run")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results and data")
    return parser.parse_args()


def _chosen(text: str, known: dict[str, Any]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
    return [name for name in known if name in names]


def _about(bench: Bench, out: Path) -> dict[str, Any]:
    partitions = [
        part
        for part in psutil.disk_partitions(all=True)
        if out.resolve().is_relative_to(part.mountpoint)
    ]
    disk = max(partitions, key=lambda part: len(part.mountpoint), default=None)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "size": f"{bench.size.name}: A {bench.size.a_shape}, B {bench.size.b_shape}",
        "rounds": bench.rounds,
        "machine": f"{platform.machine()}, {_processor()}, {len(bench.cores)} cores of "
        f"{os.cpu_count()}, {round(psutil.virtual_memory().total / 2**30)} GiB",
        "kernel": platform.release(),
        "file system": disk.fstype if disk else "unknown",
        "load at the beginning": f"{os.getloadavg()[0]:.1f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def _save(out: Path, bench: Bench, about: dict[str, Any]) -> None:
    verdicts = [judge(target, bench.measurements) for target in TARGETS]
    found = {
        "about": about,
        "measurements": [attrs.asdict(m) for m in bench.measurements],
        "missing": [attrs.asdict(m) for m in bench.missing],
        "targets": [
            {**attrs.asdict(v.target), "text": v.target.text, "reached": v.reached, "met": v.met}
            for v in verdicts
            if v is not None
        ],
    }
    (out / "results.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
