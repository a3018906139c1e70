"""Rewrite README's results table from run folders: `python benchmarks/results.py RUN [RUN ...]`.

`python benchmarks/results.py --modes RUN [RUN ...]` prints the table of docs/results.md that compares ways to decide.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bitspike.report.modes_table import modes_table
from bitspike.report.results_table import results_table

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def rewrite(text: str, table: str) -> str:
    """`text` with what stands between the two markers replaced by `table`."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"README.md needs one '{BEGIN}' and, after it, one '{END}'")
    return f"{text[: text.index(BEGIN) + len(BEGIN)]}\n\n{table.strip()}\n\n{text[text.index(END) :]}"


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    if sys.argv[1] == "--modes":
        print(modes_table([Path(run) for run in sys.argv[2:]]))
        raise SystemExit
    README.write_text(rewrite(README.read_text(), results_table([Path(run) for run in sys.argv[1:]])))
