"""`bitspike train`: a recipe, changed at will, into a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from bitspike.cli import nearest
from bitspike.cli._terminal import Command, bind, figures
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.training import TrainResult
from bitspike.training import resume as resume_run
from bitspike.training import train as train_experiment

HELP = """Train a recipe into a run folder, which ends with model.bitspike and report.html.

Every field of the experiment is an option under its dotted name; a recipe's own values are the defaults:
bitspike train RECIPE --help shows them. --data X means --data.name X, --data-dir D means --data.dir D.

example: bitspike train bs4nn-digits --training.epochs 5 --seed 2 --out runs/two
example: bitspike train bs4nn-mnist --data fashion --data-dir ~/data
example: bitspike train --resume runs/two"""
SHORT = {"--data": "--data.name", "--data-dir": "--data.dir"}


@dataclass(frozen=True)
class Options:
    """A recipe's fields, and where to write the run."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    out: Path | None = None
    """folder of the run; default runs/RECIPE-TIME"""


def train(experiment: Experiment, out: Path | None = None) -> dict[str, Any]:
    """Train, evaluate on the test data, pack, write the report; the test figures and where everything lies."""
    return _finish(train_experiment(experiment, out))


def resume(folder: tyro.conf.Positional[Path]) -> dict[str, Any]:
    """Go on with the run in a folder, to the same bits as if it had never stopped.

    example: bitspike train --resume runs/two

    Args:
        folder: a run folder
    """
    return _finish(resume_run(folder))


def _finish(result: TrainResult) -> dict[str, Any]:
    from bitspike.cli.pack import pack
    from bitspike.cli.report import report

    packed, page = pack(result.folder), report(result.folder)
    where = {"run": str(result.folder), "model": packed["model"], "report": page["report"]}
    return {**where, **result.evaluation, "model_bytes": packed["bytes"]}


def command(arguments: list[str]) -> Command:
    first = arguments[0] if arguments else ""
    if first.startswith("--resume"):
        return bind(resume, arguments[0].split("=", 1)[1:] + arguments[1:], "bitspike train --resume")
    if first in ("-h", "--help"):
        print(f"usage: bitspike train RECIPE [OPTIONS]\n       bitspike train --resume FOLDER\n\n{HELP}")
        raise SystemExit(0)
    options = parse(arguments)
    return partial(train, options.experiment, options.out)


def parse(arguments: list[str]) -> Options:
    """Read `RECIPE [OPTIONS]`; an unknown recipe raises `UsageError` with the nearest one."""
    from bitspike.recipes import RECIPES

    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            "name the recipe first: bitspike train RECIPE [OPTIONS]; bitspike recipes lists them"
        )
    name, *rest = arguments
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}{nearest(name, RECIPES)}; bitspike recipes lists them")
    return tyro.cli(
        Options,
        args=[_long(word) for word in rest],
        default=Options(RECIPES[name]),
        prog=f"bitspike train {name}",
        description=HELP,
        config=(tyro.conf.AvoidSubcommands,),
    )


def _long(word: str) -> str:
    option, equals, value = word.partition("=")
    return SHORT.get(option, option) + equals + value


def show(result: dict[str, Any]) -> None:
    figures(result)
    print(f"run:    {result['run']}\nmodel:  {result['model']}\nreport: {result['report']}")
