"""The registry's calls about the cluster and its shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.errors import ClusterNotFoundError, DekerValidationError
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.models import ClusterRecord, ShardMap, ShardRecord
from deker_cluster.registry.replies import cluster_record, json_pairs, shard_records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deker_cluster.registry.link import RegistryLink

__all__ = ["ClusterCalls"]


class ClusterCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about the cluster as a whole."""

    _link: RegistryLink
    name: str

    def create_cluster(
        self,
        cluster_id: str,
        format: int,  # noqa: A002 - the word of the stored record
        settings: Mapping[str, Any],
    ) -> ClusterRecord:
        """Make the cluster, unless it is there.

        Returns
        -------
        ClusterRecord
            The one that is stored: the first caller's, whoever asks.
        """
        check_id(cluster_id, "a cluster id")
        reply = self._link.change(
            "create_cluster", cluster_id, int(format), *json_pairs(settings, "setting")
        )
        return cluster_record(reply[1])

    def cluster(self) -> ClusterRecord | None:
        """Return the cluster's record; None when there is none of this name."""
        flat = self._link.read("cluster")[1]
        return cluster_record(flat) if flat else None

    def update_settings(self, **changes: Any) -> ClusterRecord:
        """Set the named settings, leave the others, and return the cluster's record.

        Raises
        ------
        ClusterNotFoundError
            There is no cluster of this name.
        """
        reply = self._link.change("update_settings", *json_pairs(changes, "setting"))
        self._check_cluster(reply)
        return cluster_record(reply[1])

    def register_shard(self, uuid: str, info: Mapping[str, Any]) -> ShardRecord:
        """Take over a shard: its incarnation and the cluster's epoch grow by one.

        Parameters
        ----------
        uuid
            The identity in the shard's data directory.
        info
            Merged into what is known of the shard: what others set there, as its state, survives
            a restart of the shard's process.

        Raises
        ------
        ClusterNotFoundError
            There is no cluster of this name.
        DekerValidationError
            All 65,536 shard numbers are taken.
        """
        check_id(uuid, "a shard's UUID")
        reply = self._link.change("register_shard", uuid, *json_pairs(info, "shard info"))
        self._check_cluster(reply)
        if reply[0] == b"full":
            raise DekerValidationError(
                f"cluster {self.name!r} has used all 65,536 shard numbers; shard {uuid} gets none"
            )
        (record,) = shard_records(reply[2])
        return record

    def update_shard(
        self, number: int, changes: Mapping[str, Any], incarnation: int | None = None
    ) -> bool:
        """Change some of a shard's info. The epoch grows if any value differs.

        Parameters
        ----------
        incarnation
            The caller's own; None for a caller that is not the shard's process.

        Returns
        -------
        bool
            False, and nothing was changed: a newer incarnation owns the shard.

        Raises
        ------
        DekerValidationError
            No shard has that number.
        """
        reply = self._link.change(
            "update_shard",
            int(number),
            "" if incarnation is None else int(incarnation),
            *json_pairs(changes, "shard info"),
        )
        if reply[0] == b"noshard":
            raise DekerValidationError(f"cluster {self.name!r} has no shard number {number}")
        return bool(reply[0] == b"ok")

    def shard_map(self) -> ShardMap:
        """Return all shards and the epoch in which that is so.

        Raises
        ------
        ClusterNotFoundError
            There is no cluster of this name.
        """
        reply = self._link.read("shard_map")
        self._check_cluster(reply)
        return ShardMap(epoch=reply[1], shards=shard_records(reply[2]))

    def _check_cluster(self, reply: list[Any]) -> None:
        if reply[0] == b"nocluster":
            raise ClusterNotFoundError(f"the registry holds no cluster named {self.name!r}")
