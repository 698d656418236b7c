"""Where a user's own tasks should run: near the tiles that they work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerClientError, DekerValidationError
from deker_cluster.tilewise import grouping
from deker_cluster.tilewise.methods import Tilewise
from deker_cluster.tilewise.parts import TilePart, entries_of, part_of, pieces_of, require_committed
from deker_cluster.tilewise.running import in_tasks

if TYPE_CHECKING:
    from deker_cluster.subset import Subset

__all__ = ["NodeParts", "by_node", "near"]


@attrs.frozen(eq=False)
class NodeParts:
    """Parts of a subset whose tiles lie on one node."""

    node_id: str | None
    """Ray's id of the node; None: nobody knows of any, and a task may run anywhere."""
    parts: list[TilePart]

    @property
    def options(self) -> dict[str, Any]:
        """For ``task.options(**these)``: run on that node, or elsewhere if it is gone."""
        return _options(self.node_id)


def near(cells: Tilewise) -> dict[str, Any]:
    """Return the options of a task that is to run near the cells it works on.

    ``work.options(**near(subset)).remote(subset)`` runs on the node that holds most of the bytes.
    Should that node be gone, or have no CPUs at all, it runs elsewhere; if it is busy, the task
    waits.

    Parameters
    ----------
    cells
        An array, a snapshot, or a part of one.

    Returns
    -------
    dict
        ``scheduling_strategy``; empty if no cell was ever written.

    Raises
    ------
    DekerValidationError
        `cells` are none of these.
    DekerClientError
        In library mode there are no nodes.
    DekerTransactionError
        In a transaction: tasks would not see what it has written.
    DekerInstanceNotExistsError
        The array has been deleted.
    RegistryUnavailableError
        No answer in time; not for snapshots.
    """
    subset = _on_ray(cells, "near()")
    entries = entries_of(subset, pieces_of(subset))
    held = grouping.node_bytes(entries, subset.array.session.shards)
    return _options(max(held, key=lambda node: held[node], default=None))


def by_node(cells: Tilewise) -> list[NodeParts]:
    """Divide cells among the nodes that hold their tiles: one task for each can read locally.

    Of several nodes that hold a tile the one gets it that has least to do by then; so do tiles
    that were never written. All parts of a snapshot are of one generation, those of an array as
    they are when they are read.

    Parameters
    ----------
    cells
        An array, a snapshot, or a part of one.

    Returns
    -------
    list of NodeParts
        Each tile once.

    Raises
    ------
    DekerBaseApplicationError
        As :func:`near`.
    """
    subset = _on_ray(cells, "by_node()")
    pieces = pieces_of(subset)
    entries = entries_of(subset, pieces)
    return [
        NodeParts(node, [part_of(subset.whole, piece) for piece in mine])
        for node, mine in grouping.by_node(pieces, entries, subset.array.session.shards).items()
    ]


def _on_ray(cells: Tilewise, what: str) -> Subset:
    if not isinstance(cells, Tilewise):
        raise DekerValidationError(
            f"{what} takes an array, a snapshot, or a part of one, such as the .subset of a "
            f"TilePart; not {shown(cells)}"
        )
    subset = cells.all_cells()
    if not in_tasks(subset.array.session):
        raise DekerClientError(
            f"{what} needs the nodes of a Ray, and file:// works without: open the directory as "
            "deker://./path"
        )
    require_committed(subset, what)
    return subset


def _options(node_id: str | None) -> dict[str, Any]:
    from deker_cluster.tilewise.tasks import near_node  # which imports Ray

    return near_node(node_id)
