"""Runs that are killed at random moments and resumed end in the bits of one that was not.

    PYTHONPATH=tests python tests/endurance/kills.py [--each 40] [--seed 1] [--only BNN]

SIGKILL, SIGTERM and SIGHUP in turn, for every rule. After each the folder must be readable: its settings, its metrics
and its checkpoint, where there is one. At the end all is as in the uninterrupted run, and no file too many is there.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from limited import Tally, finish

from small_runs import results, timeless

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
FAMILIES = {
    "S4NN": "bs4nn-mnist-paper --data digits --network.hidden 10 --coding.n-steps 16 --training.epochs 4",
    "first-spike race": "bs4nn-digits --network.hidden 10 --training.epochs 4",
    "BNN": "bnn-digits --network.hidden 10 --training.epochs 4",
    "HM2BP": "hm2bp-digits --network.hidden 8 --coding.n-steps 24 --training.epochs 3",
    "BiSNN": "st-bisnn-moons --network.hidden 4 4 --training.epochs 2",
    "ThreeFactor": "glm-digits --network.hidden 8 --training.epochs 4",
}


def started(words: list[str]) -> int:
    """A child that runs a command line as if it had been typed."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            from bitspike.cli import main

            code = main(words)
    finally:
        os._exit(code)


def killed(family: str, line: str, each: int, chance: random.Random, place: Path) -> Tally:
    """Run, kill, resume, until `each` signals have met a run that went on; compare every finished run."""
    from bitspike.training import RunFolder

    tally, whole, number = Tally(family, each), place / f"whole-{len(family)}", 0
    began = time.monotonic()
    child = started(["train", *line.split(), "--out", str(whole)])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, family
    seconds = time.monotonic() - began
    expected, names = results(whole), {path.name for path in whole.iterdir()}
    model, epochs = (whole / "model.bitspike").read_bytes(), timeless(RunFolder(whole).metrics())
    while tally.done < each:
        number += 1
        run = place / f"run-{number}"
        words = ["train", *line.split(), "--out", str(run)]
        for _ in range(200):
            child = started(words)
            kind = SIGNALS[tally.done % len(SIGNALS)]
            if tally.done < each:  # then the last run may end
                time.sleep(chance.uniform(0, 0.9 * seconds))
                os.kill(child, kind)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            # A signal that comes before the command line has begun ends the process like any other.
            if code == 0:
                break
            legal = (-kind,) if kind == signal.SIGKILL else (-kind, 128 + kind)
            fault = None if code in legal else f"{kind.name} ended a run with {code}"
            tally.add(kind.name, fault or unreadable(run))
            if (run / "experiment.json").exists():
                words = ["train", "--resume", str(run)]
        else:
            tally.faults.append(f"{run.name} was killed 200 times and never ended")
        same = results(run) == expected and (run / "model.bitspike").read_bytes() == model
        if not same or timeless(RunFolder(run).metrics()) != epochs:
            tally.faults.append(f"{run.name}: other results than without kills")
        if stray := {path.name for path in run.iterdir()} - names:
            tally.faults.append(f"{run.name}: stray files {stray}")
        shutil.rmtree(run)
    tally.show("\n")
    return tally


def unreadable(run: Path) -> str | None:
    """What cannot be read in a folder; None where all can be."""
    from bitspike.errors import BitspikeError
    from bitspike.training import RunFolder
    from bitspike.training.checkpoint import load_checkpoint

    folder = RunFolder(run)
    try:
        if (run / "experiment.json").exists():
            folder.experiment()
        elif run.exists() and [path for path in run.iterdir() if not path.name.endswith(".tmp")]:
            return f"a folder without experiment.json holds {sorted(path.name for path in run.iterdir())}"
        epochs = [figures["epoch"] for figures in folder.metrics()]
        if folder.checkpoint.exists() and load_checkpoint(folder.checkpoint).epoch > len(epochs):
            return "the checkpoint is ahead of the metrics"
        for name in ("manifest", "evaluation"):
            if (run / f"{name}.json").exists():
                getattr(folder, name)()
    except BitspikeError as error:
        return str(error)
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=40, help="kills per rule")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="rules with this word in their name")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for name in ("cli.train", "cli.pack", "training.run", "deploy.pack"):  # once, and not in every child
        importlib.import_module(f"bitspike.{name}")
    # Figures take most of the time of so short a run, and are not what a kill can harm.
    report: Any = importlib.import_module("bitspike.report")
    report.write_report = lambda run: run / "report.html"
    for number in (signal.SIGTERM, signal.SIGHUP):  # a shell's job may have inherited that these are ignored
        signal.signal(number, signal.SIG_DFL)
    chance = random.Random(given.seed)
    chosen = {family: line for family, line in FAMILIES.items() if given.only in family}
    with tempfile.TemporaryDirectory() as place:
        tallies = [killed(family, line, given.each, chance, Path(place)) for family, line in chosen.items()]
    sys.stdout.flush()
    finish(tallies)
