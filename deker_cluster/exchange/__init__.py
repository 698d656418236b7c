"""Moving in from a Deker storage, and out to one."""

from __future__ import annotations

from deker_cluster.exchange.exporting import export_storage
from deker_cluster.exchange.importing import import_storage
from deker_cluster.exchange.report import CollectionReport, ExportReport, Failure, ImportReport

__all__ = [
    "CollectionReport",
    "ExportReport",
    "Failure",
    "ImportReport",
    "export_storage",
    "import_storage",
]
