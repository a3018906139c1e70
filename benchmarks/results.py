"""Rewrite the results tables from run folders: `python benchmarks/results.py RUN [RUN ...]`.

The whole table goes to docs/results.md, the rows and columns named below to README.md. `python benchmarks/results.py
--modes RUN [RUN ...]` prints the table of docs/results.md that compares ways to decide.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bitspike.report.modes_table import modes_table
from bitspike.report.results_table import results_table

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

README_RECIPES = (
    "bs4nn-digits", "bs4nn-mnist", "s4nn-mnist", "bnn-mnist", "bayes-bs4nn-mnist", "hm2bp-mnist", "hm2bp-mnist-binary",
    "bs4nn-fashion",
)  # fmt: skip
README_COLUMNS = (
    "recipe", "network", "weights", "accuracy", "ece", "spikes", "model_bytes", "published"
)  # fmt: skip


def rewrite(page: Path, table: str) -> None:
    """Replace what stands between the two markers of `page` by `table`."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{page.name} needs one '{BEGIN}' and, after it, one '{END}'")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{table.strip()}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    runs = [Path(run) for run in sys.argv[1:] if run != "--modes"]
    if not runs:
        raise SystemExit(__doc__)
    if "--modes" in sys.argv[1:]:
        print(modes_table(runs))
        raise SystemExit
    whole = results_table(runs)
    small = results_table(runs, recipes=README_RECIPES, columns=README_COLUMNS, notes=False)
    rewrite(ROOT / "docs" / "results.md", whole)
    rewrite(ROOT / "README.md", small)
