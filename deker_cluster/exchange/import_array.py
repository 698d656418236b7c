"""Bring one array over from a Deker storage."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.attributes import validate_attributes
from deker_cluster.core.ids import validate_id
from deker_cluster.dataplane.adopting import write_images
from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerArrayAlreadyExistsError,
    DekerBaseApplicationError,
    DekerLockError,
    DekerMetaDataError,
)
from deker_cluster.exchange.deker_files import not_being_written, read_cells, read_header
from deker_cluster.exchange.deker_layout import read_json
from deker_cluster.exchange.deker_values import from_deker
from deker_cluster.tilefile.adopt import adopt_tile, can_adopt
from deker_cluster.tilefile.foreign import index_of_hdf5
from deker_cluster.tilefile.source import TileFile
from deker_cluster.tilefile.writer import encode_tile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.exchange.deker_collections import SourceCollection
    from deker_cluster.exchange.report import CollectionReport
    from deker_cluster.registry.models import ArrayRecord
    from deker_cluster.tilefile.image import TileImage

__all__ = ["ArrayImport"]

PRIMARY, CUSTOM = "primary_attributes", "custom_attributes"

_ATTEMPTS = 4
"""An array that others work on is not there, then made, then filled: each may come between."""


@attrs.frozen
class ArrayImport:
    """What it takes to bring over the arrays of one collection.

    Parameters
    ----------
    target
        Where to; None: nothing is written, and there is nothing there yet.
    dry_run
        Whether to look only.
    """

    source: SourceCollection
    target: Collection | None
    report: CollectionReport
    dry_run: bool

    def run(
        self,
        array_id: str,
        tiles: Mapping[int, Sequence[Path]] | None,
        *,
        parallel: bool,
        broken: str | None = None,
    ) -> None:
        """Bring one array over, or report that it is there already.

        Parameters
        ----------
        tiles
            Files with cells by ordinal, several where there are duplicates; None: the array's own
            file has the cells.
        parallel
            Whether to share the work among the session's threads; then not from one of them.
        broken
            Why `tiles` are not all, if they are not.

        Raises
        ------
        DekerBaseApplicationError, OSError
            It was not brought over, and is not at the target.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._run(array_id, tiles, parallel=parallel, broken=broken)
            except (DekerArrayAlreadyExistsError, CommitConflictError):
                # Another import makes it, or has filled it, or somebody wrote to it.
                if self._at_target(array_id) is None or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _run(
        self,
        array_id: str,
        tiles: Mapping[int, Sequence[Path]] | None,
        *,
        parallel: bool,
        broken: str | None,
    ) -> None:
        known = self._at_target(array_id)
        if known is not None and known.generation:
            self.report.add(skipped=1)
            return
        if broken is not None:
            raise DekerMetaDataError(broken)
        attributes, cells = self._metadata(array_id)
        files = cells if tiles is None else tiles
        if self.dry_run:
            self.report.add(arrays=1)
        elif known is not None and not files:
            self.report.add(skipped=1)
            return
        else:
            self._write(array_id, known, attributes, files, parallel=parallel)
        if tiles is not None:
            self.report.add(empty_tiles=self.source.grid.n_tiles - len(files))

    def _at_target(self, array_id: str) -> ArrayRecord | None:
        if self.target is None:
            return None
        record = self.target.session.registry.array(validate_id(array_id))
        if record is not None and record.collection_id != self.target.id:
            raise DekerArrayAlreadyExistsError(
                f"the target has an array with the id {array_id} in another collection"
            )
        return record

    def _metadata(
        self, array_id: str
    ) -> tuple[dict[str, dict[str, Any]], Mapping[int, Sequence[Path]]]:
        path = self.source.array_path(array_id)
        cells: dict[int, list[Path]] = {}
        if self.source.is_virtual:
            meta = read_json(path)
        else:
            with not_being_written(path):
                header = read_header(path)
            meta = header.meta
            self.source.check_shape(header)
            if header.shape is not None:
                cells[0] = [path]
        if meta.get("id") != array_id:
            raise DekerMetaDataError(f"its metadata have another id: {str(meta.get('id'))[:80]!r}")
        schema = self.source.schema
        attributes = {
            name: from_deker(schema.attributes, meta.get(name), primary=name == PRIMARY)
            for name in (PRIMARY, CUSTOM)
        }
        # So that a dry run says what creating the array would.
        validate_attributes(
            schema.attributes, attributes[PRIMARY], attributes[CUSTOM], schema.origin_attributes
        )
        return attributes, cells

    def _write(
        self,
        array_id: str,
        known: ArrayRecord | None,
        attributes: dict[str, dict[str, Any]],
        files: Mapping[int, Sequence[Path]],
        *,
        parallel: bool,
    ) -> None:
        target = self.target
        if target is None:
            raise DekerMetaDataError("there is no collection to write to")
        array = target.create(**attributes, id_=array_id) if known is None else target.handle(known)
        decoded: list[int] = []
        written = 0
        if files:
            images = {
                ordinal: partial(self._image, array.tiled, ordinal, files, decoded)
                for ordinal in files
            }
            try:
                written = write_images(target.session, array.tiled, images, parallel=parallel)
            except (CommitStateUnknownError, DekerLockError):  # it is being written, perhaps
                raise
            except BaseException:
                if known is None:
                    self._take_back(array)
                raise
        self.report.add(
            arrays=1,
            tiles_adopted=len(files) - len(decoded),
            tiles_decoded=len(decoded),
            stored_bytes=written,
        )

    def _take_back(self, array: BaseArray) -> None:
        """Delete an array without cells: it would look as if it had been moved."""
        with contextlib.suppress(DekerBaseApplicationError):
            made = array.session.registry.array(array.id)
            if made is not None and not made.generation:
                array.delete()

    def _image(
        self,
        array: TiledArray,
        ordinal: int,
        files: Mapping[int, Sequence[Path]],
        decoded: list[int],
        version: int,
    ) -> TileImage:
        meta = array.tile_meta(ordinal, version, replaces=None, tiles=len(files), cleared="")
        paths = files[ordinal]
        if len(paths) == 1:
            try:
                with not_being_written(paths[0]):
                    image = _adopted(paths[0], array, meta)
                    if image is not None:
                        return image
                    cells = read_cells(paths[0], array.grid.tile_shape, array.dtype)
            except (DekerBaseApplicationError, OSError, RuntimeError, ValueError) as error:
                raise _of_file(paths[0], error) from error
        else:
            cells = self._merged(paths, array)
        decoded.append(ordinal)
        return encode_tile(
            cells,
            chunk_shape=array.options.resolve_chunks(array.grid.tile_shape, array.dtype),
            filters=array.options.filters(),
            meta=meta,
            fill_value=array.fill,
        )

    def _merged(self, paths: Sequence[Path], array: TiledArray) -> npt.NDArray[Any]:
        """Return the cells of several files of one tile: of each, the newest that is not empty."""
        newest, *others = sorted(paths, key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        shape, dtype = array.grid.tile_shape, array.dtype
        cells: npt.NDArray[Any] | None = None
        contradicting = 0
        for path in (newest, *others):
            try:
                with not_being_written(path):
                    found = read_cells(path, shape, dtype)
            except (DekerBaseApplicationError, OSError) as error:
                raise _of_file(path, error) from error
            if cells is None:
                cells = found
                continue
            empty = _same(cells, array.fill)
            contradicting += int(
                np.count_nonzero(~empty & ~_same(found, array.fill) & ~_same(cells, found))
            )
            cells[empty] = found[empty]
        if contradicting:
            self.report.conflict(
                f"array {array.id}: {contradicting:,} cells differ between files of one tile; "
                f"those of the newest were taken, {newest}, not of {', '.join(map(str, others))}"
            )
        if cells is None:
            raise DekerMetaDataError("a tile without files")
        return cells


def _adopted(path: Path, array: TiledArray, meta: Mapping[str, Any]) -> TileImage | None:
    """Return a tile file with the stored chunks of another; None: they have to be decoded."""
    try:
        index = index_of_hdf5(path)
    except DekerMetaDataError:  # such as cells that lie in the header of the file
        return None
    if not can_adopt(index, array.grid.tile_shape, array.dtype):
        return None
    with TileFile.open(path, index) as file:
        return adopt_tile(index, file, meta=meta, fill_value=array.fill)


def _of_file(path: Path, error: Exception) -> DekerBaseApplicationError:
    return DekerMetaDataError(
        f"{path}: {error}; repair it, or move it away to import the array without it"
    )


def _same(cells: npt.NDArray[Any], other: Any) -> npt.NDArray[np.bool_]:
    """Compare as numbers are, but NaN equals NaN."""
    equal: npt.NDArray[np.bool_] = cells == other
    if cells.dtype.kind in "fc":
        equal |= np.isnan(cells) & np.isnan(other)
    return equal
