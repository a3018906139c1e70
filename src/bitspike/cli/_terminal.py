"""What the verbs share: options from a function's signature, and tables."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

from bitspike.errors import printable

Command = Callable[[], dict[str, Any]]


def bind(function: Callable[..., dict[str, Any]], arguments: list[str], prog: str) -> Command:
    """Read the options of `function` from its signature; what comes back runs it.

    Parsing and running are two steps, so that an error of the run is not taken for one of the options.
    """
    parameters = inspect.signature(function).parameters.values()
    if not arguments and all(parameter.default is not parameter.empty for parameter in parameters):
        return functools.partial(function)  # nothing to parse: the parser need not be imported

    @functools.wraps(function)
    def bound(*positional: Any, **options: Any) -> Command:
        return functools.partial(function, *positional, **options)

    description = inspect.cleandoc(function.__doc__ or "").partition("\n\nArgs:")[0]
    command: Command = read(bound, arguments, prog, description=description)
    return command


def read(
    what: Any, arguments: list[str], prog: str, default: Any = None, description: str | None = None
) -> Any:
    """Read the options of a function or a dataclass; bad ones end in SystemExit after a message on stderr.

    Help texts are docstrings: of arguments, and those below fields.
    """
    import tyro
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    def number(kind: type[int] | type[float], said: str) -> None:
        def parse(words: list[str]) -> int | float:
            try:
                return kind(words[0])
            except ValueError:
                raise ValueError(f"{words[0]!r} is not {said}") from None

        def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
            if info.type is not kind:
                return None
            fits = (int, float) if kind is float else int
            return PrimitiveConstructorSpec(
                nargs=1,
                metavar=kind.__name__.upper(),
                instance_from_str=parse,
                is_instance=lambda value: isinstance(value, fits) and not isinstance(value, bool),
                str_from_instance=lambda value: [str(value)],
            )

        registry.primitive_rule(rule)

    registry = ConstructorRegistry()
    number(int, "a whole number")
    number(float, "a number")
    given = {} if default is None else {"default": default}
    # The parser joins lines, but not those that begin with a space.
    description = None if description is None else description.replace("\nexample:", "\n example:")
    return tyro.cli(
        what,
        args=arguments,
        prog=prog,
        description=description,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.HelptextFromCommentsOff),
        registry=registry,
        **given,
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table on stdout: fitted to a terminal, unbroken lines elsewhere. Numbers stand to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    lines = [list(row) for row in rows]
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) for row in lines)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in lines:
        shown.add_row(*(cell(value) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 400, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(shown)
    print("\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip()))


FIGURES = (
    "rmse", "mae", "spread", "accuracy", "accuracy_tie_optimistic", "ece", "ece_mass", "nll", "brier", "aurc", "eaurc",
    "decision_time", "silent", "ties", "spikes", "synops", "energy_uj", "model_bytes", "n", "seconds",
)  # fmt: skip


def figures(result: dict[str, Any]) -> None:
    """Print the figures of an evaluation, one a line, by their names and units in `metrics.catalog`."""
    from bitspike.metrics.catalog import CATALOG

    for key in FIGURES:
        value, metric = result.get(key), CATALOG[key]
        if value is not None:
            low, high = result.get(f"{key}_interval", (None, None))
            interval = "" if low is None else f"95 % interval {metric.number(low)} to {metric.number(high)}"
            line = f"{metric.label:<30}{metric.number(value):>12} {metric.unit}"
            print(f"{line}, {interval}" if interval else line.rstrip())


def cell(value: object) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value)).replace("\n", "\ufffd")
