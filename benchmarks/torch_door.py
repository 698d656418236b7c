"""Measure a training loop over this package and over others: ``python -m benchmarks.torch_door``.

Array A of the suite, Zstandard, chunks of 256 x 256; batches of 32 samples of 8 x 64 x 64 cells,
steps of 10 ms. All read the same samples in the same order, two threads ahead, and every batch is
compared with the source. Two orders: the one that ``SampleStream`` plans (samples that share chunks
come near each other), and one drawn from all samples alike. Contenders take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.suite.bench import Bench
from benchmarks.suite.contenders import OWN
from benchmarks.suite.contests import Figure, contest
from benchmarks.suite.data import SIZES
from benchmarks.suite.driver import Entrant
from benchmarks.torch_loop import SAMPLE, STEP_S
from deker_cluster.sampling import Order, Windows

if TYPE_CHECKING:
    from benchmarks.suite.data import Dataset

_BATCH = 32
_PEERS = {
    "zarr": "",
    "zarr with zarrs": "",
    "TensorStore": "read_many",
    "h5py": "",
}
"""Each, and the method of its adapter that reads a batch at once, if it has one."""
_ORDERS: dict[str, Any] = {"planned": True, "any": "samples"}
_WAYS = {
    "2 threads ahead": {"workers": 0, "prefetch": 2},
    "when asked": {"workers": 0, "prefetch": 0},
    "2 workers": {"workers": 2, "prefetch": 1},
}
_SEED = 5


def main() -> int:
    """Measure, print a table; return 1 if a batch was wrong."""
    options = _options()
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    cores = tuple(sorted(os.sched_getaffinity(0)))[:2]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=results, prefix="data-")))
        bench = Bench(SIZES[options.size], options.rounds, folder, cores, print)
        stack.callback(bench.close)
        dataset = bench.dataset("A", "zstd")
        for order in _ORDERS:
            _measure(bench, dataset, order, options.steps)
    _show(bench)
    return 0 if all(m.checked for m in bench.measurements) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torch_door", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="quick")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=32, help="batches in a round")
    return parser.parse_args()


def _measure(bench: Bench, dataset: Dataset, order: str, steps: int) -> None:
    processes = {p.name: p for p in bench.contenders(OWN, *_PEERS)}
    able = bench.holders(dataset, list(processes.values()))
    asked = {"dataset": dataclasses.asdict(dataset), "batches": _batches(dataset, order, steps)}
    entrants = []
    for process in able:
        if process.name == OWN:
            how = {**asked, "shuffle": _ORDERS[order], "seed": _SEED}
            entrants += [
                Entrant(way, process, "benchmarks.torch_loop:own", {**how, **settings})
                for way, settings in _WAYS.items()
            ]
        else:
            method = {"method": _PEERS[process.name]}
            entrants.append(
                Entrant(process.name, process, "benchmarks.torch_loop:peer", {**asked, **method})
            )
    count = steps * _BATCH
    contest(
        bench,
        order,
        "",
        entrants,
        [{}] * bench.rounds,
        [["right"]] * bench.rounds,
        [
            Figure("samples/s", "samples/s", "more", lambda got: count / got["whole_s"]),
            Figure(
                "stall",
                "% of step time",
                "less",
                lambda got: 100 * got["waited_s"] / (steps * STEP_S),
            ),
        ],
    )


def _batches(dataset: Dataset, order: str, steps: int) -> list[Any]:
    """Return the first cells of the samples of each batch, as the stream will give them."""
    named = tuple((f"d{axis}", cells) for axis, cells in enumerate(dataset.shape))
    samples = Windows(SAMPLE).over(named)
    plan = Order(batch=_BATCH, shuffle=_ORDERS[order], seed=_SEED).plan(
        samples, 0, dataset.tile, dataset.chunk or dataset.tile
    )
    if len(plan) < steps:
        raise SystemExit(f"an array of this size has {len(plan)} batches, not {steps}")
    return [samples.corners(plan.batch(position)).tolist() for position in range(steps)]


def _show(bench: Bench) -> None:
    print("\n| order | contender | samples/s | rounds | stall | this package is |")
    print("|---|---|---|---|---|---|")
    for order in _ORDERS:
        speeds = {m.contender: m for m in bench.measurements if _is(m, order, "samples/s")}
        stalls = {m.contender: m for m in bench.measurements if _is(m, order, "stall")}
        ours = speeds[next(iter(_WAYS))]
        for name, speed in speeds.items():
            label = f"deker_cluster, {name}" if name in _WAYS else name
            ratio = "" if name in _WAYS else f"{statistics.median(ours.speed_against(speed)):.2f} x"
            wrong = "" if speed.checked else " **wrong**"
            print(
                f"| {order} | {label}{wrong} | {speed.median:,.0f} "
                f"| {min(speed.values):,.0f} to {max(speed.values):,.0f} "
                f"| {stalls[name].median:.0f} % | {ratio} |"
            )
    for missing in bench.missing:
        print(f"\nmissing: {missing.contender} {missing.workload}: {missing.why}")
    versions = [f"{name}: {about}" for name, about in bench.about.items()]
    print("\n" + "\n".join(versions))


def _is(measurement: Any, order: str, figure: str) -> bool:
    return (measurement.workload, measurement.variant) == (order, figure)


if __name__ == "__main__":
    raise SystemExit(main())
