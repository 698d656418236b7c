"""What a row of the chaos table is: a promise, how often it is tried, and what breaks it."""

from __future__ import annotations

import contextlib
import random
import shutil
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Row", "RowResult", "RunContext"]


@attrs.define
class RunContext:
    """What a row is given for a run."""

    scale: float
    """1 makes as many runs as the table says."""
    seed: int
    folder: Path
    """Empty, the row's own, removed after it unless the row is red."""
    sabotaged: bool
    """The guarded step is to be switched off: the row must turn red."""
    report: Callable[[str], None]
    rng: random.Random = attrs.field(init=False)
    failures: list[str] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def count(self, full: int, *, least: int = 1) -> int:
        """Return how many runs to make where the table says `full`."""
        return max(min(least, full), round(full * self.scale))

    def progress(self, text: str) -> None:
        """Tell whoever watches how far it is."""
        self.report(text)

    def check(self, ok: object, text: str) -> bool:
        """Note and report a failure unless `ok`; the row goes on. Returns whether it was well."""
        if not ok:
            self.failures.append(text)
            self.report(f"failure: {text}")
        return bool(ok)

    @contextlib.contextmanager
    def case(self, what: str, folder: Path) -> Iterator[None]:
        """Try one case, whose folder is removed unless it fails."""
        before = len(self.failures)
        try:
            yield
        except Exception as error:
            error.add_note(f"{what}, in {folder}")
            raise
        if len(self.failures) == before or self.sabotaged:
            shutil.rmtree(folder)
        else:
            self.report(f"{what}: see {folder}")

    def result(self, runs: int, **notes: Any) -> RowResult:
        """Return the row's result with the failures that :meth:`check` noted."""
        return RowResult(runs, list(self.failures), notes)


@attrs.define
class RowResult:
    """What came of a row."""

    runs: int
    failures: list[str]
    """Where the promise was broken."""
    notes: dict[str, Any] = attrs.Factory(dict)
    """What else is worth a line: counts, seconds, what was skipped and why."""
    errors: list[str] = attrs.Factory(list)
    """What went wrong with the test itself: red too, but no proof that the test can fail."""


@attrs.frozen
class Row:
    """One promise and its test."""

    number: int
    promise: str
    runs: str
    """How many at scale 1, as the table says it."""
    run: Callable[[RunContext], RowResult]
    sabotage: str
    """What is switched off when the row is sabotaged."""
