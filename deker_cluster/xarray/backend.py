"""The engine ``deker`` of :func:`xarray.open_dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from xarray.backends import BackendEntrypoint

from deker_cluster.arrays import BaseArray
from deker_cluster.collection import Collection
from deker_cluster.dtypes import shown
from deker_cluster.errors import (
    DekerInstanceNotExistsError,
    DekerURIError,
    DekerValidationError,
)
from deker_cluster.instants import to_instant
from deker_cluster.snapshots import Snapshot
from deker_cluster.xarray.address import looks_like_ours, parse_array_address
from deker_cluster.xarray.open_sources import OpenSources
from deker_cluster.xarray.opening import dataset_of, named_variables

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import xarray

__all__ = ["DekerBackend"]


class DekerBackend(BackendEntrypoint):  # type: ignore[misc] # xarray is not followed
    """Opens arrays as data sets, lazily, each at one generation."""

    description: ClassVar[str] = "Arrays of deker_cluster (deker://, file://), lazily by tiles"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "generation",
        "mask_and_scale",
    )

    def guess_can_open(self, filename_or_obj: object) -> bool:
        """Whether this is an address of arrays, or a handle of some."""
        if isinstance(filename_or_obj, str):
            return looks_like_ours(filename_or_obj)
        return isinstance(filename_or_obj, (BaseArray, Snapshot, Collection))

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        generation: int | str | datetime | np.datetime64 | None = None,
        mask_and_scale: bool = False,
    ) -> xarray.Dataset:
        """Open one array, or the variables of one data set.

        Parameters
        ----------
        filename_or_obj
            ``<storage>/<collection>``, ``<storage>/<collection>/<array id>`` or
            ``<storage>/<collection>/<attribute>=<value>,...``, where the storage is what a
            :class:`.Client` takes; or a collection, an array or a snapshot itself. Arrays that
            differ in the primary attribute ``variable`` alone are variables of one data set.
        drop_variables
            Names of variables to leave out.
        generation
            Number of a past generation, for one variable; or an instant, for all of them: a
            datetime or ISO text. None: the present one, of each variable for itself.
        mask_and_scale
            Whether cells with the fill value become NaN, and the attributes ``scale_factor`` and
            ``add_offset`` are applied.

        Returns
        -------
        xarray.Dataset
            Nothing is read yet but coordinates and attributes. Its generations stay on disk until
            it is closed, whatever is written meanwhile. The preferred chunks, ``chunks={}``, are
            the tiles.

        Raises
        ------
        DekerURIError
            No address of arrays; nothing is created.
        DekerCollectionNotExistsError, DekerInstanceNotExistsError
            There is no such collection or array.
        DekerGenerationError
            The generation is not kept.
        DekerValidationError
            The arrays are no variables of one data set, or an argument makes no sense.
        """
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        when = _checked_when(generation)
        sources = OpenSources()
        try:
            arrays, source = _arrays(filename_or_obj, sources)
            named = named_variables(arrays)
            chosen = {name: array for name, array in named.items() if name not in dropped}
            snapshots = {
                name: _pinned(array, when, len(chosen), sources) for name, array in chosen.items()
            }
            dataset = dataset_of(snapshots, mask_and_scale=mask_and_scale)
        except BaseException:
            sources.close()
            raise
        if source is not None:
            # xarray would note the address as it was given, password included.
            dataset.encoding["source"] = source
        dataset.set_close(sources.close)
        return dataset


def _arrays(given: Any, sources: OpenSources) -> tuple[Iterable[BaseArray | Snapshot], str | None]:
    """Return the arrays that are meant, and an address that may be shown."""
    if isinstance(given, str):
        address = parse_array_address(given)
        return address.find(sources.join(address.uri)), str(address)
    if isinstance(given, Collection):
        if not len(given):
            raise DekerInstanceNotExistsError(f"collection {given.name!r} has no arrays")
        return given, None
    if isinstance(given, (BaseArray, Snapshot)):
        return [given], None
    raise DekerURIError(
        f"engine 'deker' opens addresses, collections, arrays and snapshots, not {shown(given)}"
    )


def _checked_when(generation: Any) -> Any:
    return to_instant(generation) if isinstance(generation, str) else generation


def _pinned(
    array: BaseArray | Snapshot, when: Any, variables: int, sources: OpenSources
) -> Snapshot:
    if isinstance(array, Snapshot):
        if when is not None:
            raise DekerValidationError(f"{array!r} is of one generation: leave generation out")
        return array
    if variables > 1 and isinstance(when, (int, np.integer)):
        raise DekerValidationError(
            f"each of the {variables} variables counts its own generations, {when} is none of all: "
            "give an instant, or name one variable"
        )
    return sources.keep(array.snapshot() if when is None else array.at(when))
