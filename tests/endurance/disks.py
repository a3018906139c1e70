"""Full disks: every verb that writes, with too little room for what it has to write.

    PYTHONPATH=tests python tests/endurance/disks.py

On a small tmpfs where this process may mount one, else under a limit of the size of files. A verb ends with 0, or with
1 and one sentence that names the file; nothing that was saved before is lost, and a run goes on where there is room.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from limited import GB, Tally, finish, in_child

from small_runs import interrupted, results

LINE = "bs4nn-digits --network.hidden 12 --training.epochs 3 --seed 3"
KEPT = ("experiment.json", "checkpoint.safetensors")
ROOM = (
    0,
    300,
    1000,
    3000,
    5000,
    9000,
    14_000,
    20_000,
    40_000,
    80_000,
    160_000,
    320_000,
)  # bytes beside the run's


@contextlib.contextmanager
def disk(place: Path) -> Iterator[bool]:
    """A tmpfs of a few megabytes at `place`; False, and a plain folder, where it cannot be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path, room: int) -> None:
    """A file that leaves `room` bytes, to a page, on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    (folder.parent / "filler").write_bytes(b"\0" * max(0, free - room))


def verbs(run: Path) -> dict[str, list[str]]:
    return {
        "train": ["train", *LINE.split(), "--out", str(run.parent / "new")],
        "resume": ["train", "--resume", str(run)],
        "pack": ["pack", str(run)],
        "report": ["report", str(run)],
        "committee": ["committee", str(run), str(run), "-o", str(run.parent / "two.bitspike")],
        "eval": ["eval", str(run)],
    }


def tried(clean: Path, disk: Path, mounted: bool, verb: str, room: int, log: Path) -> tuple[int, str | None]:
    """The exit code of a verb on a copy of a run with so much room, and what was wrong with it."""
    from bitspike.cli import main as command

    run = disk / "run"
    shutil.copytree(clean, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    if mounted:
        fill(run, room)
    words = verbs(run)[verb]

    def once() -> int:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return command(words)

    code = in_child(once, log, 120, 2 * GB)
    said = log.read_text()
    (disk / "filler").unlink(missing_ok=True)
    fault = wrong(code, said, disk, clean.name)
    if stray := [path.name for path in disk.rglob("*.tmp")]:
        fault = fault or f"stray files {stray}"
    if verb != "resume" and any((run / name).read_bytes() != before[name] for name in KEPT):
        fault = fault or f"one of {KEPT} has changed"
    again = {"resume": run, "train": disk / "new"}.get(verb)
    if fault is None and again is not None and (again / "experiment.json").exists():
        more = in_child(lambda: command(["train", "--resume", str(again)]), log, 120)
        if more or results(again) != results(clean.parent / "finished"):
            fault = f"did not go on: exit {more}, {log.read_text()[-200:]}"
    return code, fault


def main() -> None:
    import torch

    from bitspike.cli import main as command
    from bitspike.training import resume

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        clean, log = Path(place) / "clean", Path(place) / "log"
        assert command(["train", *LINE.split(), "--out", str(clean / "finished")]) == 0
        shutil.copytree(clean / "finished", clean / "interrupted")
        for name in (
            "checkpoint.safetensors",
            "metrics.jsonl",
            "evaluation.json",
            "model.bitspike",
            "report.html",
        ):
            (clean / "interrupted" / name).unlink()
        with interrupted(2, True):
            resume(clean / "interrupted", progress=False)
        cases = [("finished", verb) for verb in verbs(clean)] + [("interrupted", "resume")]
        tally = Tally("disks", len(ROOM) * len(cases))
        for room in ROOM:
            for state, verb in cases:
                with disk(Path(place) / "disk") as mounted:
                    code, fault = tried(clean / state, Path(place) / "disk", mounted, verb, room, log)
                shutil.rmtree(Path(place) / "disk")
                where = f"{verb} of a run that is {state}, {room} bytes of room"
                tally.add(f"{verb} {'done' if code == 0 else 'stopped'}", fault and f"{where}: {fault}")
        tally.show("\n")
    finish([tally])


def wrong(code: int, said: str, work: Path, state: str) -> str | None:
    """What is wrong with the end of a verb; None where nothing is."""
    last = [line for line in said.splitlines() if line.startswith("bitspike: ")]
    if code == 0 or (code == 2 and state == "interrupted"):
        return None
    if code != 1 or not last or "add --traceback" in said or str(work) not in last[-1]:
        return f"exit {code}: {said[-300:]!r}"
    return None


if __name__ == "__main__":
    main()
