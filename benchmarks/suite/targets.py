"""What is to be reached, as ratios of one run, and whether it was."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import attrs

from benchmarks.suite.contenders import OTHER, OWN, SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.suite.record import Measurement

__all__ = ["TARGETS", "Target", "Verdict", "judge"]


@attrs.frozen
class Target:
    """One target: a ratio to the best of others, or a figure."""

    workload: str
    variant: str
    contender: str = OWN
    against: tuple[str, ...] = ()
    """Whose speed counts; of several, the fastest's."""
    at_least: float | None = None
    """Of the ratio of speeds or, without ``against``, of the figure."""
    at_most: float | None = None
    """Of the figure."""
    or_floor: float | None = None
    """Share of the row ``floor`` that is enough, where ``at_least`` lies beyond the floor."""

    @property
    def text(self) -> str:
        """Say what is wanted."""
        if self.against:
            floor = f", or {self.or_floor:g} x floor" if self.or_floor else ""
            return f">= {self.at_least:g} x {' or '.join(self.against)}{floor}"
        return f">= {self.at_least:g}" if self.at_most is None else f"<= {self.at_most:g}"


@attrs.frozen
class Verdict:
    """What a run says of a target."""

    target: Target
    met: bool | None
    """None: somebody was missing."""
    reached: str


def _targets() -> tuple[Target, ...]:
    found = [
        Target("W1", "none", against=("copy",), at_least=0.85),
        Target("W1", "none", against=("TensorStore", "TensorStore, tiles"), at_least=2),
        Target("W1", "none", against=("zarr with zarrs", "zarr with zarrs, tiles"), at_least=1.3),
        Target("W1", "none, memory", at_most=64),
    ]
    for codec in ("lz4", "zstd", "gzip"):
        found += [
            Target(
                "W3",
                codec,
                against=("TensorStore", "zarr", "zarr fused"),
                at_least=1.5,
                or_floor=0.8,
            ),
            Target("W3", codec, against=("zarr with zarrs",), at_least=1.0, or_floor=0.8),
            Target("W3", codec, against=("Deker 1.1.7",), at_least=4, or_floor=0.8),
        ]
    for codec in ("none", "zstd"):
        found += [
            Target("W4", codec, against=("TensorStore",), at_least=1.5),
            Target("W5", f"{codec}, singly, p50", against=("TensorStore",), at_least=1),
            Target(
                "W5",
                f"{codec}, singly, p50",
                OWN + SNAPSHOT,
                against=("TensorStore, cache",),
                at_least=1,
            ),
            Target("W5", f"{codec}, singly, p50", against=("Deker 1.1.7",), at_least=5),
            Target(
                "W5",
                f"{codec}, 64 a call",
                against=("TensorStore", "TensorStore, cache"),
                at_least=1.5,
            ),
        ]
    found += [
        Target("W6", "one cell, p50", OWN + SNAPSHOT, at_most=60),
        Target("W6", "one cell, p50", at_most=250),
    ]
    for codec in ("none", "lz4", "zstd"):
        for durability in ("fsync", "no fsync"):
            variant = f"{codec}, {durability}"
            found += [
                Target("W9", variant, against=("TensorStore",), at_least=1.2),
                Target("W9", variant, against=("Deker 1.1.7",), at_least=3),
                Target("W9", f"{variant}, memory", at_most=256),
            ]
    return (*found, *_library_targets())


def _library_targets() -> list[Target]:
    """Return those of workloads in which this package has no peers."""
    found = [
        Target("remote", codec, OTHER, against=(name,), at_least=ratio)
        for codec, store_ratio in (("none", 1.5), ("lz4", 3), ("zstd", 3))
        for name, ratio in (("plain Flight stream", 0.8), ("Ray object store", store_ratio))
    ]
    for codec in ("none", "lz4"):
        found += [
            *(
                Target("W10", f"{way} tiles, {codec}, lost", "2 writers", at_most=0)
                for way in ("disjoint", "shared")
            ),
            Target("W11", f"{codec}, torn or stale", "reader and writer", at_most=0),
            Target(
                "W11",
                f"{codec}, reader, p99",
                "reader and writer",
                against=("alone",),
                at_least=0.5,
            ),
        ]
    found.append(Target("W12", "zstd, stall", "2 workers, in windows", at_most=5))
    found += [
        Target(
            "growth", variant, "one large array", against=("arrays of 100 tiles",), at_least=0.83
        )
        for variant in ("read", "write, fsync")
    ]
    found += [
        Target("planning", "102,400 tiles", at_most=500),
        Target("planning", "one tile", at_most=20),
        Target("W13", "create", "create_many", at_least=3000),
        Target("W13", "manifest", at_most=64),
        *(
            Target("W13", "filter, p50", question, at_most=400)
            for question in ("one value, first", "one value, count", "range, count")
        ),
    ]
    return found


TARGETS = _targets()


def judge(target: Target, measurements: Sequence[Measurement]) -> Verdict | None:
    """Say whether a target was met; None if its workload was not measured."""
    row = {
        m.contender: m
        for m in measurements
        if (m.workload, m.variant) == (target.workload, target.variant)
    }
    if not row:
        return None
    ours = row.get(target.contender)
    others = [row[name] for name in target.against if name in row]
    if ours is None or (target.against and not others):
        return Verdict(target, None, "missing")
    if not target.against:
        figure = ours.median
        met = (target.at_least is None or figure >= target.at_least) and (
            target.at_most is None or figure <= target.at_most
        )
        return Verdict(target, met, f"{figure:.3g} {ours.unit}")
    ratios, name = min(
        ((ours.speed_against(other), other.contender) for other in others),
        key=lambda pair: statistics.median(pair[0]),
    )
    ratio = statistics.median(ratios)
    reached = f"{ratio:.2f} x {name} ({min(ratios):.2f} to {max(ratios):.2f})"
    met = ratio >= (target.at_least or 0)
    floor = row.get("floor")
    if not met and target.or_floor is not None and floor is not None:
        share = statistics.median(ours.speed_against(floor))
        wanted = (target.at_least or 0) * ours.median / ratio
        # Beyond the floor, nobody could reach it on this machine.
        if wanted > floor.median:
            reached += f"; {share:.2f} x floor"
            met = share >= target.or_floor
    return Verdict(target, met, reached)
