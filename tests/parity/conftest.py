from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.parity.environment import DekerUnavailableError
from tests.parity.environment import deker_python as find_deker_python

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def deker_python() -> Path:
    """The Python of an environment with Deker; tests are skipped where there can be none."""
    try:
        return find_deker_python()
    except DekerUnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
