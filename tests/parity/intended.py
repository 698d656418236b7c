"""The differences that are meant, all of them: whatever else differs is an error."""

from __future__ import annotations

from tests.parity.intended_catalog import CATALOG
from tests.parity.intended_handles import HANDLES
from tests.parity.intended_indexing import INDEXING
from tests.parity.intended_meta import META
from tests.parity.intended_schemas import SCHEMAS
from tests.parity.intended_values import VALUES

__all__ = ["INTENDED"]

INTENDED = (*INDEXING, *VALUES, *SCHEMAS, *META, *HANDLES, *CATALOG)
