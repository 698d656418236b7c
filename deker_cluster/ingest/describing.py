"""A plan as text for people. Pure (no I/O)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deker_cluster.dimensions import TimeDimensionSchema
from deker_cluster.dtypes import shown
from deker_cluster.types import StorageSize

if TYPE_CHECKING:
    from deker_cluster.dimensions import AnyDimensionSchema
    from deker_cluster.ingest.plan import ArrayTarget, IngestPlan

__all__ = ["described"]

_FEW = 8
"""Arrays and labels that are listed one by one."""


def described(plan: IngestPlan) -> str:
    """Return what a plan is going to do, one fact a line."""
    schema = plan.target.schema
    grid = schema.grid
    tile = math.prod(grid.tile_shape) * schema.dtype.itemsize
    whole = math.prod(grid.shape) * schema.dtype.itemsize
    state = "exists" if plan.target.exists else "new"
    lines = [f"collection  {plan.target.collection} ({state})", "dimensions"]
    lines += [f"  {_dimension(item)}" for item in schema.dimensions]
    lines += [
        f"cells       {schema.dtype.name}, missing ones are {schema.fill_value}",
        (
            f"tiles       {_times(grid.tile_shape)} cells ({StorageSize.of(tile).human}), "
            f"{_times(grid.vgrid)} of them"
        ),
        f"an array    {_times(grid.shape)} cells ({StorageSize.of(whole).human})",
        f"arrays      {len(plan.target.arrays)}",
    ]
    for array in plan.target.arrays[:_FEW]:
        lines.append(f"  {_array(plan, array)}")
        lines += [f"    {name} = {shown(value, 70)}" for name, value in array.custom.items()]
    lines += _more(len(plan.target.arrays), "arrays")
    lines.append(
        f"inputs      {plan.n_inputs}, {StorageSize.of(plan.total_bytes).human} of cells; where "
        + {
            "last": "they overlap the last one counts",
            "first": "they overlap the first one counts",
            "error": "cells of two overlap it is an error",
        }[plan.overlap]
    )
    if plan.problems:
        lines.append(f"left out    {len(plan.problems)}")
        lines += [f"  {problem}" for problem in plan.problems[:_FEW]]
        lines += _more(len(plan.problems), "inputs")
    lines += [f"note        {note}" for note in plan.notes]
    return "\n".join(lines)


def _times(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))


def _more(count: int, what: str) -> list[str]:
    return [f"  and {count - _FEW} more {what}"] if count > _FEW else []


def _array(plan: IngestPlan, array: ArrayTarget) -> str:
    attributes = ", ".join(f"{name}={shown(value, 40)}" for name, value in array.primary.items())
    state = "new, if it is not there" if array.id is None else f"id {array.id}"
    return f"{attributes or array.key} ({state}): {_count(len(plan.pieces[array.key]))}"


def _count(pieces: int) -> str:
    return f"{pieces} piece" if pieces == 1 else f"{pieces} pieces"


def _dimension(item: AnyDimensionSchema) -> str:
    told = f"{item.name}: {item.size}"
    if isinstance(item, TimeDimensionSchema):
        start = item.start_value
        begin = start if isinstance(start, str) else start.isoformat()
        return f"{told}, instants from {begin} with a step of {item.step}"
    if item.scale is not None:
        last = item.scale.start_value + (item.size - 1) * item.scale.step
        return f"{told}, {item.scale.start_value:.12g} to {last:.12g} by {item.scale.step:.12g}"
    if item.labels is not None:
        few = ", ".join(map(str, item.labels[:_FEW]))
        return f"{told}, labels {few}" + (" ..." if item.size > _FEW else "")
    return f"{told}, positions only"
