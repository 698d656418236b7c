"""Who takes part: this package, its peers, and the plain limits."""

from __future__ import annotations

from benchmarks.suite.driver import ContenderSpec

__all__ = ["CONTENDERS", "LIMITS", "OTHER", "OWN", "PEERS", "SNAPSHOT"]

OWN = "own node"
OTHER = "other node"
LIMITS = "limits"
SNAPSHOT = ", snapshot"
"""Behind a name: reads a snapshot, which asks the registry nothing."""

_ADAPTERS = "benchmarks.suite.adapters"

CONTENDERS: dict[str, ContenderSpec] = {
    spec.name: spec
    for spec in (
        ContenderSpec(OWN, "project", f"{_ADAPTERS}.own:OwnNode", "own"),
        ContenderSpec(OTHER, "project", f"{_ADAPTERS}.other:OtherNode", "other"),
        ContenderSpec(
            "TensorStore", "tensorstore", f"{_ADAPTERS}.tensorstore_zarr3:TensorStore", "zarr3"
        ),
        ContenderSpec(
            "zarr with zarrs",
            "zarr",
            f"{_ADAPTERS}.zarr_python:ZarrPython",
            "zarr3",
            {"pipeline": "zarrs.ZarrsCodecPipeline"},
        ),
        ContenderSpec(
            "zarr fused",
            "zarr",
            f"{_ADAPTERS}.zarr_python:ZarrPython",
            "zarr3",
            {"pipeline": "zarr.core.codec_pipeline.FusedCodecPipeline"},
        ),
        ContenderSpec(
            "zarr",
            "zarr",
            f"{_ADAPTERS}.zarr_python:ZarrPython",
            "zarr3",
            {"pipeline": "zarr.core.codec_pipeline.BatchedCodecPipeline"},
        ),
        ContenderSpec("h5py", "h5py", f"{_ADAPTERS}.h5py_file:H5pyFile", "h5py"),
        ContenderSpec("Deker 1.1.7", "deker", f"{_ADAPTERS}.deker_local:Deker", "deker"),
        ContenderSpec(LIMITS, "project", f"{_ADAPTERS}.limits:Limits", "limits"),
    )
}

PEERS = tuple(name for name in CONTENDERS if name not in (OWN, OTHER, LIMITS))
