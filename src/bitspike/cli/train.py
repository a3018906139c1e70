"""`bitspike train`: a recipe, changed at will, into a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bitspike.cli._terminal import Command, figures, read
from bitspike.errors import UsageError, nearest
from bitspike.experiment import Experiment
from bitspike.plugins import load_plugins, values_of

if TYPE_CHECKING:
    from bitspike.training import TrainResult

Plugins = tuple[ModuleType, ...]

HELP = """Train a recipe into a run folder, which ends with model.bitspike and report.html.

Every field of the experiment is an option under its dotted name; a recipe's own values are the defaults:
bitspike train RECIPE --help shows them. --data X means --data.name X, --data-dir D means --data.dir D.

With --resume FOLDER a run goes on, to the same bits as if it had never stopped, or with the settings that are given
changed. With --plugin MODULE a module of your own is imported, whose rules, codings, networks and recipes are then
known; give it once for each module."""
EXAMPLES = """example: bitspike train bs4nn-digits --training.epochs 5 --seed 2 --out runs/two
example: bitspike train bs4nn-mnist --data fashion --data-dir ~/data
example: bitspike train --resume runs/two
example: bitspike train --resume runs/two --optimizer.lr 0.001
example: bitspike train my-recipe --plugin my_rules"""
USAGE = """usage: bitspike train RECIPE [--plugin MODULE] [OPTIONS]
       bitspike train --resume FOLDER [--plugin MODULE] [OPTIONS]"""
SHORT = {"--data": "--data.name", "--data-dir": "--data.dir"}


@dataclass(frozen=True)
class Options:
    """A recipe's fields, and where to write the run."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    out: Path | None = None
    """folder of the run; default runs/RECIPE-TIME"""


def train(experiment: Experiment, out: Path | None = None, plugin: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train, evaluate on the test data, pack, write the report; the test figures and where everything lies.

    `plugin`: modules with classes of your own that the experiment uses.
    """
    from bitspike.training import train as run

    return _finish(run(experiment, out), plugin)


def resume(
    folder: Path, changes: Mapping[str, Any] | None = None, plugin: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Go on with the run in a folder, to the same bits as if it had never stopped; or with settings changed by name."""
    from bitspike.training import resume as run

    return _finish(run(folder, changes=changes or None, plugins=plugin), plugin)


def _finish(result: TrainResult, plugin: tuple[str, ...]) -> dict[str, Any]:
    from bitspike.cli.pack import pack
    from bitspike.cli.report import report

    packed, page = pack(result.folder, plugin=plugin), report(result.folder)
    where = {"run": str(result.folder), "model": packed["model"], "report": page["report"]}
    return {**where, **result.evaluation, "model_bytes": packed["bytes"]}


def command(arguments: list[str]) -> Command:
    words, names = take_plugins(arguments)
    if not words or words[0] in ("-h", "--help") or words[:2] in (["--resume", "-h"], ["--resume", "--help"]):
        if not words:
            raise UsageError(
                "name the recipe first: bitspike train RECIPE [OPTIONS]; bitspike recipes lists them"
            )
        print(f"{USAGE}\n\n{HELP}\n\n{EXAMPLES}")
        raise SystemExit(0)
    plugins = load_plugins(names)
    option, equals, folder = words[0].partition("=")
    if option == "--resume":
        folder, rest = (folder, words[1:]) if equals else ("".join(words[1:2]), words[2:])
        return _resume(folder, rest, tuple(names))
    options = parse(words, plugins)
    return partial(train, options.experiment, options.out, tuple(names))


def _resume(folder: str, arguments: list[str], plugin: tuple[str, ...]) -> Command:
    if not folder or folder.startswith("-"):
        raise UsageError("name the folder of the run: bitspike train --resume FOLDER [OPTIONS]")
    from bitspike.training.run_folder import RunFolder

    experiment = RunFolder.open(Path(folder)).experiment(plugin)
    changes = parse_changes(experiment, arguments, f"bitspike train --resume {folder}")
    return partial(resume, Path(folder), changes, plugin)


def take_plugins(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments without `--plugin MODULE`, and the modules' names."""
    words, names = list[str](), list[str]()
    rest = iter(arguments)
    for word in rest:
        option, equals, name = word.partition("=")
        if option != "--plugin":
            words.append(word)
            continue
        name = name if equals else next(rest, "")
        if not name or name.startswith("-"):
            raise UsageError("--plugin needs the name of a module: --plugin my_rules for a file my_rules.py")
        names.append(name)
    return words, names


def parse(arguments: list[str], plugins: Plugins = ()) -> Options:
    """Read `RECIPE [OPTIONS]`; an unknown recipe raises `UsageError` with the nearest one.

    Recipes are those of `bitspike.recipes` and every `Experiment` that stands in a plug-in under a public name.
    """
    from bitspike.recipes import RECIPES

    known = list(RECIPES.values())
    own = {recipe.name: recipe for recipe in values_of(plugins, Experiment) if recipe not in known}
    recipes = {**RECIPES, **own}
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            "name the recipe first: bitspike train RECIPE [OPTIONS]; bitspike recipes lists them"
        )
    name, *rest = arguments
    if name not in recipes:
        listed = f"plug-ins have {', '.join(own)}; " if own else ""
        raise UsageError(
            f"there is no recipe {name!r}{nearest(name, recipes)}; {listed}bitspike recipes lists them"
        )
    options: Options = read(
        Options, _long(rest), f"bitspike train {name}", Options(recipes[name]), f"{HELP}\n\n{EXAMPLES}"
    )
    return options


def parse_changes(experiment: Experiment, arguments: list[str], prog: str) -> dict[str, Any]:
    """Settings that options change in an experiment: dotted name -> new value."""
    description = "Go on with the run, with these settings changed; the defaults are those of the run."
    changed: Experiment = read(Experiment, _long(arguments), prog, experiment, description)
    return {name: new for name, (_, new) in experiment.changes(changed).items()}


def _long(arguments: list[str]) -> list[str]:
    pairs = (word.partition("=") for word in arguments)
    return [SHORT.get(option, option) + equals + value for option, equals, value in pairs]


def show(result: dict[str, Any]) -> None:
    figures(result)
    print(f"run:    {result['run']}\nmodel:  {result['model']}\nreport: {result['report']}")
