"""Write a storage that Deker 1.1.7 opens."""

from __future__ import annotations

import contextlib
import errno
import json
from typing import TYPE_CHECKING

from deker_cluster.collection_metadata import METADATA_VERSION, STORAGE_ADAPTER
from deker_cluster.errors import (
    DekerClientError,
    DekerCollectionAlreadyExistsError,
    DekerMetaDataError,
    DekerValidationError,
    StorageFullError,
)
from deker_cluster.exchange.deker_collections import SourceCollection
from deker_cluster.exchange.deker_layout import (
    ARRAY_DATA,
    ARRAY_LINKS,
    COLLECTIONS,
    VARRAY_DATA,
    VARRAY_LINKS,
    storage_root,
)
from deker_cluster.exchange.deker_limits import check_collection, link_path
from deker_cluster.exchange.deker_writer import PARTIAL, replace_text
from deker_cluster.exchange.export_array import ArrayExport
from deker_cluster.exchange.importing import HOPELESS, UNREADABLE, Bar, in_pieces, wanted_names
from deker_cluster.exchange.report import CollectionReport, ExportReport
from deker_cluster.options import HDF5Options
from deker_cluster.schemas import VArraySchema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.collection import Collection

__all__ = ["export_storage"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def export_storage(
    client: Client,
    target: str | Path,
    *,
    collections: Sequence[str] | None = None,
    progress: bool = True,
) -> ExportReport:
    """Write collections into a storage that Deker opens.

    Stored chunks are taken over as they are. Run it again after it was stopped: arrays that are at
    the target are skipped, also if they were changed here since.

    Parameters
    ----------
    client
        The storage to export.
    target
        A folder that is empty, not there yet, or a Deker storage; its path or ``file:///path``.
        Deker's links are absolute: it has to stay where it is.
    collections
        Names; None: all.
    progress
        Show bars on standard error.

    Returns
    -------
    ExportReport
        With everything that failed. Nothing is written of a collection that Deker could not hold.

    Raises
    ------
    DekerClientError
        The target is something else.
    DekerCollectionNotExistsError
        There is no collection of a name in `collections`.
    """
    root = storage_root(target)
    _check_target(root)
    there = {collection.name: collection for collection in client}
    names = wanted_names(there, collections, client.session.address)
    report = ExportReport(str(client.session.address), str(root))
    report.collections = [CollectionReport(name) for name in names]
    lost: str | None = None
    for part in report.collections:
        if lost is not None:
            part.fail(part.name, f"not begun: {lost}")
            continue
        try:
            folder = root / COLLECTIONS / part.name
            with _room(root):
                _export_collection(there[part.name], folder, part, progress=progress)
        except HOPELESS as error:
            lost = str(error)
            part.fail(part.name, error)
        except UNREADABLE as error:
            part.fail(part.name, error)
    return report


def _check_target(root: Path) -> None:
    if (root / COLLECTIONS).is_dir() and not (root / "cluster.json").exists():
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DekerClientError(
            f"{root} is neither empty nor a Deker storage; choose another folder to export to"
        )


def _export_collection(
    collection: Collection, folder: Path, report: CollectionReport, *, progress: bool
) -> None:
    check_collection(collection)
    links = folder / (VARRAY_LINKS if isinstance(collection.schema, VArraySchema) else ARRAY_LINKS)
    arrays: list[BaseArray] = []
    taken: dict[Path, str] = {}
    for array in collection:
        link = link_path(links, collection, array.primary_attributes, array.id)
        if array.primary_attributes:
            other = taken.setdefault(link.parent, array.id)
            if other != array.id:
                raise DekerValidationError(
                    f"Deker cannot tell the primary attributes of the arrays {other} and "
                    f"{array.id} apart: both are {link.parent.relative_to(links)} to it"
                )
        arrays.append(array)
    _make_folder(collection, folder)
    export = ArrayExport(folder, report)
    with Bar(collection.name, len(arrays), shown=progress) as bar:

        def one(array: BaseArray) -> None:
            try:
                with _room(folder):
                    export.run(array)
            except HOPELESS:
                raise
            except UNREADABLE as error:
                report.fail(f"array {array.id}", error, arrays=1)
            bar.step()

        for piece in in_pieces(arrays):
            collection.session.run_all(one, piece)


def _make_folder(collection: Collection, folder: Path) -> None:
    """Make an empty collection, or make sure that the one that is there is the same."""
    virtual = isinstance(collection.schema, VArraySchema)
    metadata = folder / f"{collection.name}.json"
    if metadata.exists():
        found = SourceCollection.read(folder)
        if found.schema != collection.schema or (
            (found.options or HDF5Options()) != collection.hdf5_options
        ):
            raise DekerCollectionAlreadyExistsError(
                f"{folder} is another collection: its schema or its options differ"
            )
    elif folder.exists() and {path.name for path in folder.iterdir()} - {metadata.name + PARTIAL}:
        raise DekerMetaDataError(f"{folder} is no collection, it lacks {metadata.name}")
    if not metadata.exists():  # written first: a folder without would be somebody else's
        options = collection.options
        form = {
            "name": collection.name,
            "type": "varray" if virtual else "array",
            "schema": collection.schema.as_dict,
            "options": None if options is None else options.as_dict,
            "storage_adapter": STORAGE_ADAPTER,
            "metadata_version": METADATA_VERSION,
        }
        replace_text(metadata, json.dumps(form))
    for name in (ARRAY_DATA, ARRAY_LINKS, *((VARRAY_DATA, VARRAY_LINKS) if virtual else ())):
        (folder / name).mkdir(exist_ok=True)
    (folder.parent / f"{collection.name}.lock").touch()


@contextlib.contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Turn "no room" of the operating system, which the next array would meet too, into our own."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFullError(f"no room on the disk of {folder}; free some, and go on") from error
