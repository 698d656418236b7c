"""``python -m tests.parity.document``: bring the list in ``docs/from-deker.md`` up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.parity.environment import ROOT
from tests.parity.intended_catalog import CATALOG
from tests.parity.intended_handles import HANDLES
from tests.parity.intended_indexing import INDEXING
from tests.parity.intended_meta import META
from tests.parity.intended_schemas import SCHEMAS
from tests.parity.intended_values import VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.parity.comparing import Intended

__all__ = ["PAGE", "documented", "rewrite"]

PAGE = ROOT / "docs" / "from-deker.md"

BEGIN = "<!-- written by python -m tests.parity.document: begin -->\n"
END = "<!-- written by python -m tests.parity.document: end -->\n"

_THEMES: dict[str, Sequence[Intended]] = {
    "Between the brackets": INDEXING,
    "Reading and writing": VALUES,
    "Schemas and options": SCHEMAS,
    "Attributes and filters": META,
    "Handles": HANDLES,
    "Clients and collections": CATALOG,
}


def documented() -> str:
    """Return the list of intended differences as Markdown."""
    lines = []
    for theme, entries in _THEMES.items():
        lines += [f"### {theme}", "", "| | Deker | here | why |", "|---|---|---|---|"]
        for entry in entries:
            cells = (entry.title, entry.deker, entry.here, entry.why)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)


def rewrite(page: str) -> str:
    """Return the page with the present list between its markers."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{documented()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(rewrite(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
