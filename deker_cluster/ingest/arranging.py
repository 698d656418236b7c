"""Arrays and pieces, from inputs that are grouped by array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.held_parts import held_parts
from deker_cluster.ingest.inference import (
    custom_attributes,
    inferred_schema,
    of_one_kind,
    shared_axes,
)
from deker_cluster.ingest.mosaic import check_castable, pieces_of, union_axes
from deker_cluster.ingest.plan import ArrayTarget, Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    import numpy as np

    from deker_cluster.ingest.axes import Axis
    from deker_cluster.ingest.found import FoundArray
    from deker_cluster.ingest.layouts import Layout
    from deker_cluster.ingest.onto import Existing
    from deker_cluster.ingest.plan import Piece
    from deker_cluster.options import HDF5Options

__all__ = ["Arrangement"]


@attrs.frozen(kw_only=True)
class Arrangement:
    """The inputs by array, and how they are to be written."""

    groups: Mapping[str, list[FoundArray]]
    layout: Layout
    given: dict[str, Any]
    dtype: np.dtype[Any] | None
    step: timedelta | None
    corner: bool
    clip: bool

    @property
    def members(self) -> list[FoundArray]:
        """All inputs."""
        return [one for members in self.groups.values() for one in members]

    def onto_new(
        self,
        name: str,
        tile_shape: Mapping[str, int] | Sequence[int] | None,
        options: HDF5Options | None,
    ) -> tuple[Target, dict[str, list[Piece]]]:
        """Return a collection that is to be made, and the pieces of its arrays.

        Raises
        ------
        DekerValidationError
            The inputs do not go together.
        """
        axes = {key: union_axes(members, self.step) for key, members in self.groups.items()}
        dtypes = {
            key: members[0].dtype if self.dtype is None else self.dtype
            for key, members in self.groups.items()
        }
        shared = shared_axes(axes, dtypes, loose=self.layout == "arrays")
        dtype = next(iter(dtypes.values()))
        primary = {key: self._identity(key, name) for key in self.groups}
        names = next(iter(primary.values())).keys()
        custom = of_one_kind(
            [
                {
                    **{
                        word: value
                        for word, value in custom_attributes(
                            axes[key], members, corner=self.corner
                        ).items()
                        if word not in names
                    },
                    **{word: value for word, value in self.given.items() if word not in names},
                }
                for key, members in self.groups.items()
            ]
        )
        schema = inferred_schema(
            shared,
            self.members,
            dtype=dtype,
            primary=list(names),
            custom=custom,
            tile_shape=tile_shape,
        )
        arrays = tuple(
            ArrayTarget(key=key, primary=primary[key], custom=own)
            for key, own in zip(self.groups, custom, strict=True)
        )
        target = Target(
            collection=name, schema=schema, exists=False, arrays=arrays, options=options
        )
        return target, self._pieces(target, axes, "the array")

    def onto_existing(self, existing: Existing) -> tuple[Target, dict[str, list[Piece]]]:
        """Return what a collection that is there gets.

        Raises
        ------
        DekerValidationError
            The inputs do not fit into it, or do not tell which of its arrays they belong to.
        """
        collection = existing.collection
        if existing.array is not None and len(self.groups) > 1:
            raise DekerValidationError(
                f"inputs for {len(self.groups)} arrays ({shown(', '.join(self.groups))}) cannot "
                "go to one: choose one with variables=[...]"
            )
        held = collection.schema.dtype
        if self.dtype is not None and self.dtype != held:
            raise DekerValidationError(
                f"collection {collection.name!r} exists and holds {held}: "
                f"dtype={self.dtype.name!r} needs another collection, "
                f"dtype={held.name!r} converts what is written"
            )
        known = [item.name for item in collection.schema.attributes]
        unknown = next((name for name in self.given if name not in known), None)
        if unknown is not None:
            raise DekerValidationError(
                f"collection {collection.name!r} exists and has no attribute {unknown!r}; it has: "
                f"{', '.join(known) or 'none'}"
            )
        arrays, axes = [], {}
        for key, members in self.groups.items():
            place = custom_attributes(members[0].all_axes, members, corner=self.corner)
            inferred = {**self._identity(key, collection.name), **self.given}
            array, axes[key] = existing.target_array(key, inferred, place)
            if array.id is None:
                # The transform is that of the whole array, not of what is ingested first.
                whole = custom_attributes(axes[key], members, corner=self.corner)
                known_words = array.custom.keys() - self.given.keys()
                custom = {word: value for word, value in whole.items() if word in known_words}
                array = attrs.evolve(array, custom={**array.custom, **custom})
            arrays.append(array)
        target = Target(
            collection=collection.name,
            schema=collection.schema,
            exists=True,
            arrays=tuple(arrays),
            options=collection.options,
        )
        return target, self._pieces(target, axes, f"collection {collection.name!r}")

    def _identity(self, key: str, collection: str) -> dict[str, str]:
        one = self.groups[key][0]
        identity = {"name": one.name} if self.layout == "arrays" else {}
        if one.variable is not None:
            identity["variable"] = one.variable
        identity = identity or {"name": collection}
        return {word: str(self.given.get(word, value)) for word, value in identity.items()}

    def _pieces(
        self, target: Target, axes: Mapping[str, tuple[Axis, ...]], array: str
    ) -> dict[str, list[Piece]]:
        schema = target.schema
        order = {
            source: place
            for place, source in enumerate(dict.fromkeys(one.source for one in self.members))
        }
        pieces: dict[str, list[Piece]] = {}
        for key, members in self.groups.items():
            own: list[Piece] = []
            for one in members:
                check_castable(one, schema.dtype, asked=self.dtype == schema.dtype, array=array)
                placed = pieces_of(
                    one,
                    axes[key],
                    dtype=schema.dtype,
                    fill=schema.fill_value,
                    order=order[one.source],
                    array=array,
                    clip=self.clip,
                )
                tile_shape = schema.grid.tile_shape
                own += [part for piece in placed for part in held_parts(piece, tile_shape)]
            pieces[key] = own
        if not any(pieces.values()):
            raise DekerValidationError(f"no input touches {array}: there is nothing to write")
        return pieces
