from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from deker_cluster.exchange import CollectionReport, ExportReport, ImportReport


def test_threads_lose_no_numbers():
    part = CollectionReport("a")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [part.add(arrays=1, stored_bytes=10) for _ in range(1000)])
    assert (part.arrays, part.stored_bytes) == (8000, 80_000)


def test_a_report_says_what_failed():
    part = CollectionReport("weather")
    part.add(arrays=1200, tiles_adopted=3, duplicate_tiles=1)
    report = ImportReport("/old", "file:///new", [part, CollectionReport("empty")])
    assert report.ok
    assert "nothing failed" in report.text
    assert "1,200 arrays imported" in report.text
    part.fail("/old/x.hdf5", ValueError("broken"), arrays=1)
    part.fail("/old/y.hdf5", OSError())
    part.conflict("two tiles")
    assert not report.ok
    assert "FAILED /old/x.hdf5: broken" in report.text
    assert "FAILED /old/y.hdf5: OSError" in report.text
    assert "2 FAILURES" in report.text
    assert "conflict: two tiles" in report.text
    form = json.loads(json.dumps(report.as_dict))
    assert form["ok"] is False
    assert form["dry_run"] is False
    assert form["collections"][0]["failed"] == 1
    assert form["collections"][0]["failures"][0] == {"where": "/old/x.hdf5", "why": "broken"}
    assert form["collections"][0]["conflicts"] == ["two tiles"]


def test_reports_tell_what_they_are_of():
    assert "to be imported" in ImportReport("/old", "x", dry_run=True).text
    assert "exported" in ExportReport("x", "/new").text
