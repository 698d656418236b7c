"""What a check of the storage found."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import attrs
from tqdm import tqdm

from deker_cluster.errors import DekerIntegrityError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Finding", "Findings", "IntegrityReport", "Kind"]


class Kind(Enum):
    """What a finding is about. Names are stable, for programs; values are headings, for people."""

    COLLECTION = "Collections whose metadata cannot be used"
    ARRAY = "Arrays whose metadata cannot be used"
    PRIMARY_KEY = "Primary attributes that lead to no array, or to another one"
    LOCK = "Locks of writers that died"
    MANIFEST = "Manifest entries that make no sense"
    GARBAGE = "Items of the garbage list that make no sense"
    MISSING = "Tiles whose file is missing"
    DAMAGED = "Tiles whose stored bytes are not what was written"
    ORPHAN = "Tile files that belong to nothing"
    STRANGE = "Files that are no tile files"
    SHARD = "Shards that could not be looked at"


@attrs.frozen
class Finding:
    """One thing that is wrong."""

    kind: Kind
    text: str
    collection: str | None = None
    """Name."""
    array: str | None = None
    """Id."""
    tile: int | None = None
    """Ordinal of the tile in the array's grid."""
    shard: str | None = None
    """Number and name."""

    @property
    def as_dict(self) -> dict[str, Any]:
        """All fields, JSON-safe."""
        return {**attrs.asdict(self), "kind": self.kind.name.lower()}

    def __str__(self) -> str:
        places = [
            f"{word} {value}"
            for word in ("collection", "array", "tile", "shard")
            if (value := getattr(self, word)) is not None
        ]
        return f"{self.text} ({', '.join(places)})" if places else self.text


@attrs.frozen
class IntegrityReport:
    """Result of a check; as text, what the check prints."""

    level: int
    collection: str | None
    """Name of the only collection that was looked at; None: everything was."""
    checked: dict[str, int]
    """How many collections, arrays, tiles (copies count), files and bytes were looked at."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-safe."""
        return {
            "ok": self.ok,
            "level": self.level,
            "collection": self.collection,
            "checked": dict(self.checked),
            "findings": [finding.as_dict for finding in self.findings],
        }

    def __str__(self) -> str:
        scope = "" if self.collection is None else f" of collection {self.collection!r}"
        counts = ", ".join(f"{number:,} {what}" for what, number in self.checked.items())
        lines = [f"Integrity check{scope}, level {self.level}: looked at {counts}."]
        if self.ok:
            lines.append("No errors were found.")
        for kind in Kind:
            found = [finding for finding in self.findings if finding.kind is kind]
            if found:
                lines += ["", f"{kind.value} ({len(found)}):", *(f"  {each}" for each in found)]
        return "\n".join(lines)


class Findings:
    """Collects what a check finds and counts; raises the first finding, if that is wished.

    Parameters
    ----------
    stop_on_error
        Whether the first finding is raised, as a :class:`DekerIntegrityError`.
    """

    def __init__(self, *, stop_on_error: bool) -> None:
        self._stop_on_error = stop_on_error
        self._findings: list[Finding] = []
        self._checked = dict.fromkeys(("collections", "arrays", "tiles", "files", "bytes"), 0)
        self._bar = tqdm(desc="integrity", unit="", disable=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    def add(self, finding: Finding) -> None:
        """Take note of a finding.

        Raises
        ------
        DekerIntegrityError
            The check is to stop at the first one.
        """
        self._findings.append(finding)
        if self._stop_on_error:
            where = (finding.array, finding.tile, finding.shard)
            name = finding.collection
            what = finding.text if name is None else f"collection {name!r}: {finding.text}"
            raise DekerIntegrityError(what, *where)

    def count(self, what: str, number: int = 1) -> None:
        """Take note of what was looked at."""
        self._checked[what] += number
        if what != "bytes":
            self._bar.set_description(f"integrity: {what}", refresh=False)
            self._bar.update(number)

    def report(self, level: int, collection: str | None) -> IntegrityReport:
        """Return the result so far."""
        return IntegrityReport(level, collection, dict(self._checked), tuple(self._findings))
