"""Arrays as Ray Datasets, and back.

Importing this package imports neither Ray nor Ray Data.
"""

from __future__ import annotations

from deker_cluster.ray.near import NodeParts, by_node, near
from deker_cluster.ray.reading import read
from deker_cluster.ray.writing import write

__all__ = ["NodeParts", "by_node", "near", "read", "write"]
