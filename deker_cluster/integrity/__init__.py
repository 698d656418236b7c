"""Is what is stored what was written? Looks at everything, changes nothing."""

from __future__ import annotations

from deker_cluster.integrity.check import check_integrity
from deker_cluster.integrity.report import Finding, IntegrityReport, Kind

__all__ = ["Finding", "IntegrityReport", "Kind", "check_integrity"]
