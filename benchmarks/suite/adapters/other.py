"""deker_cluster from another node: a second raylet on this machine has the only shard."""

from __future__ import annotations

from importlib.metadata import version

from benchmarks.suite.adapters.own import OwnNode
from benchmarks.suite.nodes import other_node

__all__ = ["OtherNode"]

_STORE_BYTES = 2 * 2**30


class OtherNode(OwnNode):
    """Clients of a cluster whose tile files this process never opens."""

    def serve(self) -> str:
        """Start registry, Ray with two nodes, coordinator and shard."""
        return self._undo.enter_context(other_node(self.folder, _STORE_BYTES))

    def versions(self) -> dict[str, str]:
        """Return versions and settings; see that the shard is elsewhere."""
        shards = self.client(fsync=True).session.shards.all()
        if any(shard.root is not None for shard in shards):
            raise RuntimeError("a shard of the cluster is on the node of its reader")
        return {**super().versions(), "ray": version("ray"), "pyarrow": version("pyarrow")}
