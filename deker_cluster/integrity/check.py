"""The check as a whole: what it is asked, what it does at each level, how it tells."""

from __future__ import annotations

import contextlib
import json
import operator
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deker_cluster.errors import (
    DekerCollectionNotExistsError,
    DekerIntegrityError,
    DekerValidationError,
)
from deker_cluster.integrity.catalog import check_arrays, check_collection, check_locks
from deker_cluster.integrity.orphans import check_files
from deker_cluster.integrity.reach import ShardReach
from deker_cluster.integrity.report import Findings, IntegrityReport
from deker_cluster.integrity.tiles import TileChecker
from deker_cluster.names import validate_collection_name

if TYPE_CHECKING:
    from deker_cluster.dataplane.session import Session
    from deker_cluster.registry.report_models import StoredCollection

__all__ = ["check_integrity"]

COLLECTIONS, ARRAYS, FILES, BYTES = 1, 2, 3, 4
"""The levels; each includes those before."""


def check_integrity(
    session: Session,
    *,
    level: int = 1,
    stop_on_error: bool = True,
    to_file: bool | str | Path = False,
    collection: str | None = None,
) -> IntegrityReport:
    """Look whether what is stored is what was written, print the result and return it.

    Nothing is changed. Others may go on writing: what they do meanwhile is no finding.

    Parameters
    ----------
    level
        1: the metadata of every collection can be used. 2: those of every array too, its primary
        attributes lead to it, and no writer that died left locks. 3: every tile, also of
        generations that history or snapshots keep, has its file on its shards, with the committed
        digest, the right length, dtype and shape, and no file there belongs to nothing. 4: every
        stored byte matches its checksum. 0 counts as 1, more as 4. Snapshots of deleted arrays are
        not looked at.
    stop_on_error
        Raise the first finding; else collect all.
    to_file
        Write the result to this file too, as JSON if its name ends in ``.json``; True chooses a
        name with the time, in the current directory.
    collection
        Look at this collection only.

    Raises
    ------
    DekerIntegrityError
        The first finding, with `stop_on_error`; it is in the file.
    DekerCollectionNotExistsError
        There is no such collection.
    DekerValidationError
        `level` or `to_file` cannot be accepted; nothing was looked at. Or the file cannot be
        written; the result was printed.
    RegistryUnavailableError
        The registry does not answer. A shard that does not is a finding.
    """
    level = _level(level)
    target = _target(to_file)
    stored = session.registry.stored_collections()
    if collection is not None:
        with contextlib.suppress(DekerValidationError):  # a name that none can have
            collection = validate_collection_name(collection)
        stored = [each for each in stored if each.name == collection]
        if not stored:
            raise DekerCollectionNotExistsError(f"there is no collection named {collection!r}")
    with Findings(stop_on_error=bool(stop_on_error)) as findings:
        try:
            _inspect(session, stored, level, findings, everything=collection is None)
        except DekerIntegrityError as error:
            try:
                _write(target, findings.report(level, collection))
            except DekerValidationError as unwritten:
                error.add_note(str(unwritten))
            raise
    report = findings.report(level, collection)
    sys.stdout.write(f"{report}\n")
    _write(target, report)
    return report


def _inspect(
    session: Session,
    stored: list[StoredCollection],
    level: int,
    findings: Findings,
    *,
    everything: bool,
) -> None:
    registry = session.registry
    collections = [check_collection(each, findings) for each in stored]
    scope = None if everything else collections
    if level >= ARRAYS:
        for each in collections:
            check_arrays(registry, each, findings)
        check_locks(registry, collections, findings, everything=everything)
    if level >= FILES:
        session.shards.refresh()
        reach = ShardReach(session.shards, findings)
        tiles = TileChecker(session, reach, findings, deep=level >= BYTES)
        for each in collections:
            tiles.check(each)
        check_files(registry, reach, scope, findings)


def _level(level: object) -> int:
    try:
        number = -1 if isinstance(level, bool) else operator.index(level)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0:
        raise DekerValidationError(f"level must be an int, 0 or more, not {level!r}")
    return min(max(number, COLLECTIONS), BYTES)


def _target(to_file: object) -> Path | None:
    if to_file is False:
        return None
    if to_file is True:
        return Path(f"deker-integrity-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}.txt")
    if not isinstance(to_file, str | Path) or not str(to_file).strip():
        raise DekerValidationError(f"to_file must be a bool or the path of a file, not {to_file!r}")
    path = Path(to_file)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.stat()
        usable = path.parent.is_dir() and not path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        usable = False
    if not usable:
        raise DekerValidationError(f"to_file: {path} cannot be a file: choose another place")
    return path


def _write(target: Path | None, report: IntegrityReport) -> None:
    if target is None:
        return
    as_json = target.suffix.lower() == ".json"
    text = json.dumps(report.as_dict, indent=2) if as_json else str(report)
    try:
        target.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise DekerValidationError(f"to_file: {target} cannot be written: {error}") from error
