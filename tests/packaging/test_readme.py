from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from deker_cluster import (
    AttributeSchema,
    Client,
    DimensionSchema,
    Scale,
    TimeDimensionSchema,
    VArraySchema,
)
from tests.kit.rot import add_shards

ROOT = Path(__file__).parents[2]


def test_the_first_script_of_the_readme_is_the_example() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    example = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert example.split('"""\n\n', 1)[1] == script


def test_the_lines_of_the_readme_on_indices_and_filters_run(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, lines, past, copies = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            TimeDimensionSchema("day", 366, datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)),
            DimensionSchema("layer", 3, labels=["temperature", "humidity", "wind"]),
            DimensionSchema("lat", 18, scale=Scale(85.0, -10.0)),
            DimensionSchema("lon", 36, scale=Scale(-175.0, 10.0)),
        ],
        vgrid=(6, 3, 1, 2),
        attributes=[
            AttributeSchema("model", str, primary=True),
            AttributeSchema("run", datetime, primary=True),
        ],
    )
    with Client(f"file://{tmp_path}/data") as client:
        collection = client.create_collection("runs", schema)
        for model in ("icon", "gfs", "arpege"):
            for run in ("2024-06-30", "2024-07-01", "2024-07-31T18:00", "2024-08-01"):
                array = collection.create({"model": model, "run": run})
        known = {"array": array, "collection": collection, "np": np}
        exec(lines, known)  # noqa: S102
        runs: Any = known["runs"]
        models = sorted(each.primary_attributes["model"] for each in runs)
        assert models == ["gfs", "gfs", "icon", "icon"]
        assert runs.count() == 4
        assert (array[..., 0].read() == 20).all()
        assert array["2024-07", "wind"].shape == (31, 18, 36)
        array[...] = 20.0
        known |= {"client": client, "other": next(iter(collection))}
        exec(past, known)  # noqa: S102
        assert [generation.number for generation in array.history()] == [5, 4, 3, 2, 1]
        assert (array[...].read() == 20).all()
        assert known["change"].generation == 5
        add_shards(client, 3)
        known |= {"schema": schema, "weather": collection}
        exec(copies, known)  # noqa: S102
        assert [each.replication for each in client] == [3, 2]


def test_links_of_the_documentation_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
