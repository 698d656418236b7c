"""Ingestion of files and datasets into collections: ``ingest(client, "scenes/*.tif", ...)``.

:func:`ingest` is :func:`plan`, which looks at the inputs and writes nothing, and then :func:`run`.
"""

from __future__ import annotations

from deker_cluster.ingest.filling import LeftOut, OverlapError
from deker_cluster.ingest.ingesting import ingest
from deker_cluster.ingest.plan import IngestPlan, Piece, Problem
from deker_cluster.ingest.planning import plan
from deker_cluster.ingest.report import IngestReport
from deker_cluster.ingest.running import run

__all__ = [
    "IngestPlan",
    "IngestReport",
    "LeftOut",
    "OverlapError",
    "Piece",
    "Problem",
    "ingest",
    "plan",
    "run",
]
