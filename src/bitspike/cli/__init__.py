"""The command `bitspike`: one file per verb, each a function that Python can call as well.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 130 interrupted (Ctrl-C), 143 and 129 ended by SIGTERM or
SIGHUP, which a run takes as it takes Ctrl-C. With `--json` a verb prints exactly one JSON object on stdout,
`{"error": …}` when it failed; everything else goes to stderr.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from bitspike.errors import BitspikeError, DataError, UsageError, nearest, printable

VERBS = {
    "recipes": "list the recipes",
    "train": "train a recipe into a run folder",
    "eval": "accuracy, calibration and cost of a run or a packed model",
    "predict": "decide on images (png, npy, idx) with a packed model",
    "pack": "write the packed model of a run",
    "committee": "join runs or models in one file that decides together",
    "report": "write the report of a run, one HTML page",
    "bench": "measure speed beside the alternatives",
    "data": "list, fetch and verify data sets",
    "doctor": "what this installation and this machine can do",
}
HELP = f"""usage: bitspike VERB [OPTIONS]

Spiking neural networks of one-bit synapses: train, judge, ship.

{chr(10).join(f"  {verb:<10}{line}" for verb, line in VERBS.items())}

  bitspike VERB --help    options of a verb, with an example
  bitspike --version      the version
  --json                  any verb: one JSON object on stdout, everything else on stderr
  --traceback             any verb: where in the code an error came from

example: bitspike train bs4nn-digits --out runs/first && bitspike eval runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code."""
    with _stoppable(), _any_encoding():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP: `args` holds the signal's number. What handles Ctrl-C handles it."""


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, once, in the main thread of a process that has not taken them itself."""
    there = signal.Signals.__members__  # Windows has no SIGHUP
    numbers = [there[name] for name in ("SIGTERM", "SIGHUP") if name in there]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)  # the end of a run is not interrupted a second time
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        taken.clear()
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _any_encoding() -> Iterator[None]:
    """Stdout writes what its encoding lacks ("µ" in ASCII) as an escape, as stderr does; a run never ends over it."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or stream.errors != "strict":
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):  # it flushes, and stdout may be full or closed by now
            stream.reconfigure(errors="strict")


def _main(words: list[str]) -> int:
    as_json, traceback = _take(words, "--json"), _take(words, "--traceback")
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(HELP, flush=True)
            return 0 if words else 2
        # `--json` keeps stdout for the one object.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            result = _version() if words[0] == "--version" else _run(words[0], words[1:], shown=not as_json)
        if as_json:
            print(json.dumps(result, allow_nan=False))
        elif words[0] == "--version":
            print(f"bitspike {result['version']}")
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except SystemExit as stop:  # the options were wrong, or help was asked for; either has been printed
        code, message = (stop.code if isinstance(stop.code, int) else 2), "bad usage; stderr says what"
    except Stopped as stop:
        code, message = 128 + stop.args[0], f"ended by {signal.Signals(stop.args[0]).name}"
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    except Exception as error:
        code = 2 if isinstance(error, UsageError | DataError) else 1
        message = str(error) if isinstance(error, BitspikeError) else f"{type(error).__name__}: {error}"
        hint = "" if isinstance(error, BitspikeError) else "\nbitspike: add --traceback to see where"
        if traceback:
            import traceback as trace

            trace.print_exc()
        print(f"bitspike: {printable(message)}{hint}", file=sys.stderr)
    if as_json and code:
        print(json.dumps({"error": message}))
    return code


def _run(name: str, arguments: list[str], shown: bool) -> dict[str, Any]:
    if name not in VERBS:
        raise UsageError(f"{name!r} is not a verb{nearest(name, VERBS)}; bitspike --help lists them")
    # Torch's idle threads would spin between its many small steps and take the processor from those that work: with
    # another busy process beside it on two cores, training is ten times slower. OpenMP reads this as torch loads.
    if name != "bench":  # where the rivals run as their users run them
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.disable()  # modules and options leave no garbage worth the time
    try:
        verb = importlib.import_module(f"bitspike.cli.{name}")
        command = verb.command(arguments)
    finally:
        gc.enable()
    result: dict[str, Any] = command()
    if shown:
        verb.show(result)
    return result


def _version() -> dict[str, Any]:
    from importlib import metadata

    try:
        return {"version": metadata.version("bitspike")}
    except metadata.PackageNotFoundError:
        return {"version": "unknown: not installed, running from its source"}


def _take(words: list[str], flag: str) -> bool:
    found = flag in words
    words[:] = [word for word in words if word != flag]
    return found
