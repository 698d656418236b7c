"""The process in Deker's environment: one program a line in, its outcomes a line out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import deker

from tests.parity.interpreter import Interpreter

__all__: list[str] = []


def main(folder: Path) -> None:
    # Deker prints; the answers go where its prints do not.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        with deker.Client(f"file://{folder / 'storage'}", workers=2) as client:
            interpreter = Interpreter(deker, client, folder, runs_witnesses=True)
            for line in sys.stdin:
                answers.write(json.dumps(interpreter.run(json.loads(line))) + "\n")
                answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
