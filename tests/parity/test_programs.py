"""Random and scripted programs on Deker and on deker_cluster. ``make parity`` runs more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.parity.campaign import Report, run_programs, run_random, run_scripted
from tests.parity.comparing import Tally, agree
from tests.parity.draw_program import draw_program
from tests.parity.intended import INTENDED
from tests.parity.pending import PENDING
from tests.parity.programs import Program, Step
from tests.parity.scripted import SCRIPTED
from tests.parity.sides import Sides

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Others than those of make parity, so that both together see more.
SEEDS = range(100_000, 100_120)


@pytest.fixture
def sides(tmp_path: Path, deker_python: Path) -> Iterator[Sides]:
    with Sides(tmp_path / "sides") as opened:
        yield opened


@pytest.mark.timeout(600)
def test_deker_and_this_package_agree(tmp_path: Path, deker_python: Path) -> None:
    report = run_scripted(tmp_path / "scripted")
    report.add(run_random(SEEDS, tmp_path / "random"))
    assert not report.failures, "\n\n".join(report.failures)
    assert report.tally.programs == len(SEEDS) + len(SCRIPTED)
    assert report.tally.comparisons > 3000
    # Programs that stop early, or in which everything fails, would prove little.
    assert report.tally.comparisons > 0.95 * report.tally.steps
    assert report.tally.errors < 0.25 * report.tally.comparisons


def test_nothing_is_pending() -> None:
    assert PENDING == ()


def test_names_of_intended_differences_are_unique() -> None:
    names = [entry.id for entry in INTENDED]
    assert len(set(names)) == len(names)


def test_a_seed_gives_one_program() -> None:
    assert draw_program(7) == draw_program(7)
    assert draw_program(7) != draw_program(8)


_ARRAY = (
    "client.create_collection('differs', "
    "deker.ArraySchema(dtype=int, dimensions=[deker.DimensionSchema('x', 4)])).create()"
)
_IS_OURS = "deker.__name__ == 'deker_cluster'"


def test_a_difference_is_found_and_its_program_made_small(sides: Sides) -> None:
    program = Program(
        "differs",
        (
            Step(_ARRAY, "a"),
            Step("a[:].update([1, 2, 3, 4])"),
            Step("a[0].read()"),
            Step(f"a[1].update(7) if {_IS_OURS} else None"),
            Step("a[2].read()"),
            Step("a[:].read()"),
            Step("a[3].read()"),
        ),
    )
    report = Report()
    run_programs([program], sides, report)
    (difference,) = report.tally.unexplained
    assert difference.step.text == "a[:].read()"
    (failure,) = report.failures
    smallest = failure.split("smallest program:\n")[1].splitlines()
    assert smallest == [
        "# differs",
        f"a = {_ARRAY}",
        f"a[1].update(7) if {_IS_OURS} else None",
        "a[:].read()",
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"1 if {_IS_OURS} else 2",
        f"1 if {_IS_OURS} else 1.0",
        f"np.float32(1) if {_IS_OURS} else np.float64(1)",
        f"np.zeros(2) if {_IS_OURS} else np.zeros((2, 1))",
        f"np.zeros(2) if {_IS_OURS} else -np.zeros(2)",
        f"(1, 2) if {_IS_OURS} else [1, 2]",
        f"dict(a=1, b=2) if {_IS_OURS} else dict(b=2, a=1)",
        f"1 if {_IS_OURS} else 1 / 0",
        f"1 / 0 if {_IS_OURS} else [][1]",
        f"datetime(2023, 1, 1) if {_IS_OURS} else datetime(2023, 1, 1, tzinfo=timezone.utc)",
    ],
)
def test_what_counts_as_a_difference(sides: Sides, text: str) -> None:
    deker, here = sides.run([Step(text), Step("np.array([np.nan, 1])")])
    assert not agree(deker[0], here[0])
    assert agree(deker[1], here[1])


def test_errors_agree_if_they_are_caught_alike() -> None:
    deker = {"error": ["IndexError", "LookupError", "Exception"], "text": ""}
    assert agree(deker, {"error": ["DekerIndexError", "IndexError"], "text": ""})
    assert not agree(deker, {"error": ["DekerIndexError", "DekerArrayError"], "text": ""})
    assert not agree(
        {"error": ["IndexError", "LookupError"], "text": ""}, {"error": ["LookupError"]}
    )


def test_the_witness_keeps_both_sides_in_one_state(sides: Sides) -> None:
    refused = f"a[:].update(5) if {_IS_OURS} else a[:].update(None)"
    steps = [Step(_ARRAY, "a"), Step(refused, witness="a[:].update(5)"), Step("a[:].read()")]
    deker, here = sides.run(steps)
    assert deker[1]["error"][0] == "DekerArrayError"
    assert deker[1]["witness"] == here[1]
    assert agree(deker[2], here[2])


def test_a_process_that_dies_is_reported_and_replaced(sides: Sides) -> None:
    report = Report(Tally())
    ends = Step(f"None if {_IS_OURS} else __import__('os')._exit(1)")
    run_programs([Program("dies", (ends,)), Program("lives", (Step("1"),))], sides, report)
    assert len(report.failures) == 1
    assert "died" in report.failures[0]
    assert report.tally.programs == 1
