"""All workloads, in the order in which they run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["WORKLOADS", "run_workload", "title", "variants"]

WORKLOADS: dict[str, str] = {
    "W1": "w1",
    "W2": "w2",
    "W3": "w3",
    "W4": "w4",
    "W5": "w5",
    "W6": "w6",
    "W7": "w7",
    "W8": "w8",
    "W9": "w9",
    "W10": "w10",
    "W11": "w11",
    "W12": "w12",
    "planning": "planning",
    "growth": "growth",
    "remote": "remote",
    "W13": "w13",  # the last: its million entries keep the registry busy for some time
}
"""Name -> module in this package, with a docstring whose first line is the title, ``VARIANTS`` and
``measure(bench, variant)``."""


def _module(name: str) -> Any:
    return importlib.import_module(f"benchmarks.suite.{WORKLOADS[name]}")


def title(name: str) -> str:
    """Return what the workload does, in one line."""
    return str(_module(name).__doc__).splitlines()[0]


def variants(name: str) -> tuple[str, ...]:
    """Return the variants of a workload."""
    found: tuple[str, ...] = _module(name).VARIANTS
    return found


def run_workload(name: str, variant: str, bench: Bench) -> None:
    """Measure one variant."""
    _module(name).measure(bench, variant)
