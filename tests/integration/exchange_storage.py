"""Makes storages in Deker's layout without Deker, so that anything can be wrong with them."""

from __future__ import annotations

import json

import h5py
import numpy as np

from deker_cluster.exchange.deker_layout import data_path

SHAPE = (4, 6)


def array_id(number):
    return f"{number:08x}-0000-4000-8000-000000000000"


class OldStorage:
    def __init__(self, root):
        self.root = root
        self.collections = root / "collections"
        self.collections.mkdir(parents=True)

    def collection(self, name, /, *, vgrid=None, primary="int", **changes):
        """Make a collection of float64 arrays of 4 x 6 cells, with an attribute ``n``."""
        folder = self.collections / name
        for part in ("array_data", "array_symlinks", "varray_data", "varray_symlinks"):
            (folder / part).mkdir(parents=True)
        (self.collections / f"{name}.lock").touch()
        schema = {
            "dimensions": [
                {"name": axis, "size": size, "type": "generic", "labels": None, "scale": None}
                for axis, size in zip("yx", SHAPE, strict=True)
            ],
            "dtype": "numpy.float64",
            "attributes": [{"name": "n", "primary": True, "dtype": primary}],
            "fill_value": None,
        }
        if vgrid:
            schema["vgrid"] = list(vgrid)
        form = {
            "name": name,
            "type": "varray" if vgrid else "array",
            "schema": schema,
            "options": None,
            "storage_adapter": "HDF5StorageAdapter",
            "metadata_version": "0.2",
            **changes,
        }
        (folder / f"{name}.json").write_text(json.dumps(form))
        return folder

    def array(self, folder, number, data=None, **options):
        """Make a plain array; return the path of its file."""
        meta = {"primary_attributes": {"n": number}, "custom_attributes": {}}
        return self._file(folder, array_id(number), meta, data, options)

    def varray(self, folder, number):
        """Make a virtual array without tiles; return the path of its file."""
        path = data_path(folder / "varray_data", array_id(number), ".json")
        path.parent.mkdir(parents=True)
        meta = {"primary_attributes": {"n": number}, "custom_attributes": {}}
        path.write_text(json.dumps({"id": array_id(number), **meta}))
        return path

    def tile(self, folder, tile, number, position, data=None, **options):
        """Make a tile of virtual array `number`, with its link; return the path of its file."""
        primary = {"vid": array_id(number), "v_position": list(position)}
        meta = {"primary_attributes": primary, "custom_attributes": {}}
        path = self._file(folder, array_id(0xF0000000 + tile), meta, data, options)
        place = "-".join(map(str, position))
        link = folder / "array_symlinks" / array_id(number) / place / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        # As after the storage was moved.
        link.symlink_to("/gone" / path.relative_to(self.root))
        return path

    def _file(self, folder, name, meta, data, options):
        path = data_path(folder / "array_data", name, ".hdf5")
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file["meta"] = np.bytes_(json.dumps({"id": name, **meta}).encode())
            file["empty_cells"] = 0
            if data is not None:
                file.create_dataset("data", data=data, **options)
        return path
