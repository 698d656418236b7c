from __future__ import annotations

import subprocess
import sys

import pytest

from deker_cluster.errors import DekerClientError
from deker_cluster.ray.ray_data import ray_data


def test_the_package_imports_ray_only_when_it_is_used() -> None:
    code = (
        "import sys; import deker_cluster.ray as found; "
        "assert {'read', 'write'} <= set(found.__all__); "
        "sys.exit('ray' in sys.modules or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_ray_data_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(DekerClientError, match=r"deker-cluster\[ray-data\]"):
        ray_data()
