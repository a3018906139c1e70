"""Rewrite the results tables from run folders: `python benchmarks/results.py RUN [RUN ...]`.

The whole table goes to docs/results.md, the rows and columns named below to README.md. Rows of recipes without a run
among the folders stay as they are. `python benchmarks/results.py --modes RUN [RUN ...]` prints the table of
docs/results.md that compares ways to decide.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from bitspike.report.modes_table import modes_table
from bitspike.report.results_table import results_table

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

README_RECIPES = (
    "bs4nn-digits", "bs4nn-mnist", "s4nn-mnist", "bnn-mnist-augmented", "bayes-bs4nn-mnist", "hm2bp-mnist",
    "hm2bp-mnist-binary", "bs4nn-fashion",
)  # fmt: skip
README_COLUMNS = (
    "recipe", "network", "weights", "Accuracy (%)", "Calibration error (%)", "Spikes (per input)",
    "Model file (bytes)", "published (%)",
)  # fmt: skip


def section(page: Path) -> tuple[str, str, str]:
    """The text of `page` before, between and behind the two markers."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{page.name} needs one '{BEGIN}' and, after it, one '{END}'")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:begin], text[begin:end], text[end:]


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table, line by line: heading, rule, rows."""
    lines = (line for line in table.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def markdown(table: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in table)


def recipe(row: list[str]) -> str:
    """Without the settings that follow the name of a row that is not alone."""
    return row[0].split(" (")[0]


def notes(table: str) -> tuple[list[str], dict[str, list[str]]]:
    """What stands below a table: notes as they are; sources, with the recipes beside which each was published."""
    plain, sources = [], {}
    for line in filter(None, table.splitlines()):
        if found := re.fullmatch(r"Published beside (.*?): (.*)", line):
            sources[found[2]] = re.findall("`(.*?)`", found[1])
        elif not line.startswith("|"):
            plain.append(line)
    return plain, sources


def merged(old: str, new: str) -> str:
    """The table `new`, with those rows of `old` whose recipes it lacks, by data and name."""
    kept, made = rows(old), rows(new)
    if kept and kept[0] != made[0]:
        raise SystemExit("the columns of the table have changed: give the runs of all its rows")
    fresh = {recipe(row) for row in made[2:]}
    body = [row for row in kept[2:] if recipe(row) not in fresh] + made[2:]
    body.sort(key=lambda row: (row[made[0].index("data")], row[0]))
    (plain, sources), (_, before) = notes(new), notes(old)
    for source, names in before.items():
        sources[source] = sources.get(source, []) + [name for name in names if name not in fresh]
    told = sorted(
        f"Published beside {', '.join(f'`{name}`' for name in sorted(set(names)))}: {source}"
        for source, names in sources.items()
        if names
    )
    return markdown([*made[:2], *body]) + "\n\n" + "\n\n".join([*plain, *told])


def cut(table: str) -> str:
    """README's rows and columns of the whole table."""
    heading, rule, *body = rows(table)
    places = [heading.index(column) for column in README_COLUMNS]
    chosen = [row for name in README_RECIPES for row in body if row[0] == name]
    return markdown([[row[place] for place in places] for row in [heading, rule, *chosen]])


if __name__ == "__main__":
    runs = [Path(run) for run in sys.argv[1:] if run != "--modes"]
    if not runs:
        raise SystemExit(__doc__)
    if "--modes" in sys.argv[1:]:
        print(modes_table(runs))
        raise SystemExit
    before, old, after = section(ROOT / "docs" / "results.md")
    whole = merged(old, results_table(runs))
    top, _, bottom = section(ROOT / "README.md")
    (ROOT / "docs" / "results.md").write_text(f"{before}\n\n{whole}\n\n{after}", encoding="utf-8")
    (ROOT / "README.md").write_text(f"{top}\n\n{cut(whole)}\n\n{bottom}", encoding="utf-8")
