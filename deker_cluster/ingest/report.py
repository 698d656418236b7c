"""What became of an ingestion. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from deker_cluster.ingest.filling import LeftOut
    from deker_cluster.ingest.plan import Problem

__all__ = ["IngestReport"]

_SHOWN = 20
"""Broken inputs that the text names."""


@attrs.frozen(kw_only=True)
class IngestReport:
    """What became of an ingestion."""

    collection: str
    """Name of the collection that was written."""
    arrays: dict[str, str]
    """Ids of the arrays that were written, by their keys in the plan."""
    n_inputs: int
    """Inputs that could be opened when the plan was made."""
    tiles_written: int
    tiles_skipped: int
    """Tiles that an earlier run had finished, from the same inputs."""
    tiles_empty: int
    """Tiles that no input has a valid cell for: nothing was written."""
    written_bytes: int
    """Cells of the tiles that were worked on, bytes, before compression."""
    seconds: float
    problems: tuple[Problem, ...] = ()
    """Inputs that could not be opened; all of them is missing."""
    left_out: tuple[LeftOut, ...] = ()
    """Parts of inputs that could not be read; the next run tries them again."""

    @property
    def ok(self) -> bool:
        """Whether everything is there."""
        return not self.problems and not self.left_out

    @property
    def broken(self) -> dict[str, str]:
        """Why, by input: those that are missing in whole or in part."""
        found = {problem.source: problem.why for problem in self.problems}
        for part in self.left_out:
            found.setdefault(part.source, part.why)
        return found

    @property
    def bytes_per_s(self) -> float:
        """Cells written per second, bytes."""
        return self.written_bytes / self.seconds if self.seconds else 0.0

    @property
    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            **{
                field.name: getattr(self, field.name)
                for field in attrs.fields(IngestReport)
                if field.name not in ("problems", "left_out")
            },
            "ok": self.ok,
            "problems": [{"source": each.source, "why": each.why} for each in self.problems],
            "left_out": [
                {
                    "source": each.source,
                    "why": each.why,
                    "box": [[side.start, side.stop] for side in each.box],
                }
                for each in self.left_out
            ],
        }

    def __str__(self) -> str:
        """Return the report for people."""
        summary = (
            f"{_counted(self.n_inputs, 'input')} into {_counted(len(self.arrays), 'array')} of "
            f"collection {self.collection!r}: {_counted(self.tiles_written, 'tile')} written, "
            f"{self.tiles_skipped:,} were there already, {self.tiles_empty:,} without data; "
            f"{self.written_bytes / 1e6:,.1f} MB in {self.seconds:,.1f} s, "
            f"{self.bytes_per_s / 1e6:,.1f} MB/s"
        )
        lines = [summary]
        broken = self.broken
        if broken:
            lines.append(
                f"{_counted(len(broken), 'BROKEN INPUT')}, left out as far as they could not be "
                "read; mend them and run it again:"
            )
            lines += [f"  {source}: {why}" for source, why in list(broken.items())[:_SHOWN]]
            if len(broken) > _SHOWN:
                lines.append(f"  ... and {len(broken) - _SHOWN:,} more")
        return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
