"""What became of an import or an export. Pure (no I/O)."""

from __future__ import annotations

import threading
from typing import Any

import attrs

__all__ = ["CollectionReport", "ExportReport", "Failure", "ImportReport"]


@attrs.frozen
class Failure:
    """One thing that was not moved."""

    where: str
    """Path of the file or folder, or name of the array."""
    why: str


@attrs.define
class CollectionReport:
    """What became of one collection. Threads add to it through :meth:`add`."""

    name: str
    arrays: int = 0
    """Arrays that were moved."""
    skipped: int = 0
    """Arrays that were at the target already."""
    failed: int = 0
    """Arrays that were not moved."""
    tiles_adopted: int = 0
    """Tiles whose stored bytes were taken over as they were."""
    tiles_decoded: int = 0
    """Tiles that were decoded and encoded again."""
    stored_bytes: int = 0
    """Size of the files that were written, bytes."""
    duplicate_tiles: int = 0
    """Positions of virtual arrays at which several files lay; they were merged."""
    ghost_tiles: int = 0
    """Files at positions outside the grid of their array, or of no array; they were left out."""
    empty_tiles: int = 0
    """Positions without data in virtual arrays that were moved; they read as the fill value."""
    conflicts: list[str] = attrs.field(factory=list)
    """What was decided about duplicate and ghost tiles, with paths."""
    failures: list[Failure] = attrs.field(factory=list)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False, eq=False)

    def add(self, **counts: int) -> None:
        """Add to some of the numbers."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def conflict(self, text: str) -> None:
        """Note a decision about contradicting tiles."""
        with self._lock:
            self.conflicts.append(text)

    def fail(self, where: object, why: object, *, arrays: int = 0) -> None:
        """Note a failure that cost so many arrays."""
        with self._lock:
            self.failures.append(Failure(str(where), str(why) or type(why).__name__))
            self.failed += arrays

    @property
    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            **attrs.asdict(self, filter=lambda field, _: field.name not in ("_lock", "failures")),
            "failures": [attrs.asdict(failure) for failure in self.failures],
        }

    def lines(self, verb: str) -> list[str]:
        """Return the report for people.

        Parameters
        ----------
        verb
            What was done, such as "imported".
        """
        text = (
            f"{self.name}: {self.arrays:,} arrays {verb}, {self.skipped:,} skipped, "
            f"{self.failed:,} failed; tiles: {self.tiles_adopted:,} as stored, "
            f"{self.tiles_decoded:,} encoded anew, {self.empty_tiles:,} empty; "
            f"{self.stored_bytes:,} bytes"
        )
        if self.duplicate_tiles or self.ghost_tiles:
            text += (
                f"; {self.duplicate_tiles:,} positions with several tiles merged, "
                f"{self.ghost_tiles:,} tiles outside of every array left out"
            )
        found = [f"  conflict: {conflict}" for conflict in self.conflicts]
        failed = [f"  FAILED {failure.where}: {failure.why}" for failure in self.failures]
        return [text, *found, *failed]


@attrs.define
class _Report:
    """What became of every collection."""

    source: str
    target: str
    collections: list[CollectionReport] = attrs.field(factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(collection.failures for collection in self.collections)

    @property
    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "source": self.source,
            "target": self.target,
            "ok": self.ok,
            "collections": [collection.as_dict for collection in self.collections],
        }

    def _text(self, verb: str) -> str:
        lines = [f"{self.source} -> {self.target}"]
        for collection in self.collections:
            lines += collection.lines(verb)
        failures = sum(len(collection.failures) for collection in self.collections)
        arrays = sum(collection.arrays for collection in self.collections)
        lines.append(
            f"{arrays:,} arrays of {len(self.collections):,} collections {verb}, "
            + (f"{failures:,} FAILURES" if failures else "nothing failed")
        )
        return "\n".join(lines)


@attrs.define
class ImportReport(_Report):
    """What became of an import."""

    dry_run: bool = False
    """Whether nothing was written."""

    @property
    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**super().as_dict, "dry_run": self.dry_run}

    @property
    def text(self) -> str:
        """The report for people."""
        return self._text("to be imported" if self.dry_run else "imported")


@attrs.define
class ExportReport(_Report):
    """What became of an export."""

    @property
    def text(self) -> str:
        """The report for people."""
        return self._text("exported")
