"""The folder of a run: what was asked (experiment.json), where it ran (manifest.json), how it went
(metrics.jsonl).

Beside them lie checkpoint.safetensors and, when the run is over, evaluation.json and evaluation.safetensors.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from bitspike import codec
from bitspike.errors import DataError, UsageError
from bitspike.experiment import Experiment
from bitspike.files import (
    MAX_TEXT,
    cannot_write,
    clear_left_over,
    read_bytes,
    read_json,
    read_json_lines,
    write_atomically,
)
from bitspike.training.forms import EVALUATION, EXPERIMENT, MANIFEST, METRICS, Fields, check_form

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


# Nobody but the owner writes these.
_OWN = ("experiment.json", "manifest.json", "metrics.jsonl", "evaluation.*", "checkpoint.*", "snapshot-*")


@dataclass(frozen=True)
class RunFolder:
    """Paths and small files of one run."""

    path: Path

    @staticmethod
    def create(path: Path, experiment: Experiment) -> RunFolder:
        """Make the folder and write experiment.json; a folder that is not empty raises `UsageError`."""
        RunFolder.require_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        folder = RunFolder(path)
        folder.write_experiment(experiment)
        return folder

    @contextmanager
    def owned(self) -> Iterator[None]:
        """The folder belongs to this process until the end; another that owns it raises `UsageError`.

        The operating system forgets the owner when its process ends, however it ends. Systems without `flock` have no
        owners.
        """
        if fcntl is None:
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"{self.path}: another process trains this run; wait for its end, stop it, or give another folder"
                ) from error
            for names in _OWN:
                clear_left_over(self.path, names)
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def require_free(path: Path) -> None:
        """Refuse, with `UsageError`, a place where a new run would meet another one or a user's files."""
        if not path.exists():
            return
        if not path.is_dir():
            raise UsageError(f"{path} is a file; give a folder to write the run to")
        held = sorted(entry.name for entry in path.iterdir() if not entry.name.endswith(".tmp"))
        if "experiment.json" in held:
            raise UsageError(f"{path} already holds a run; resume it or give another folder")
        if held:
            raise UsageError(f"{path} is not empty (it holds {held[0]!r}); give a new or an empty folder")

    @staticmethod
    def open(path: Path) -> RunFolder:
        """An existing run; a folder without experiment.json raises `DataError`."""
        if not (path / "experiment.json").is_file():
            raise DataError(f"{path} holds no run: experiment.json is missing")
        return RunFolder(path)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def snapshot(self, epoch: int) -> Path:
        """The model after an epoch, where `training.keep` asks for it."""
        return self.path / f"snapshot-{epoch}.safetensors"

    @property
    def evaluation_arrays(self) -> Path:
        return self.path / "evaluation.safetensors"

    @property
    def quoted(self) -> str:
        """The path as a shell reads it."""
        return shlex.quote(str(self.path))

    def experiment(self, plugins: Sequence[str | ModuleType] = ()) -> Experiment:
        """The experiment of the run; raises `DataError` when the file is damaged.

        `plugins`: modules, or their names, that hold the classes of your own which it names.
        """
        file = self.path / "experiment.json"
        try:
            return codec.from_json(read_bytes(file, MAX_TEXT).decode(), plugins)
        except (UnicodeDecodeError, UsageError) as error:
            raise DataError(f"{file}: {error}") from error

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What goes wrong here by what the run asks for is a `DataError` that names experiment.json."""
        try:
            yield
        except (DataError, UsageError) as error:
            raise DataError(f"{self.path / 'experiment.json'}: {error}") from error

    def write_experiment(self, experiment: Experiment) -> None:
        """Write experiment.json atomically."""
        write_atomically(self.path / "experiment.json", codec.to_json(experiment).encode())

    def write_json(self, name: str, value: Any) -> None:
        """Write `name` atomically."""
        write_atomically(self.path / name, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())

    def evaluation(self) -> dict[str, Any]:
        """What evaluation.json holds; raises `DataError` when it is missing, damaged or of another form."""
        return self._read("evaluation.json", EVALUATION)

    def manifest(self) -> dict[str, Any]:
        """What manifest.json holds; raises `DataError` when it is missing, damaged or of another form."""
        return self._read("manifest.json", MANIFEST)

    def plain_experiment(self) -> dict[str, Any]:
        """experiment.json as it is written, for those who need none of its classes; raises `DataError`."""
        return self._read("experiment.json", EXPERIMENT)

    def _read(self, name: str, form: Fields) -> dict[str, Any]:
        file, mend = self.path / name, "put a copy of it back, or train again into another folder"
        value = read_json(file, mend)
        try:
            check_form(form, value, "")
        except DataError as error:
            raise DataError(f"{file}: {error}; {mend}") from error
        found: dict[str, Any] = value
        return found

    def append_metrics(self, figures: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        file = self.path / "metrics.jsonl"
        try:
            with open(file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(figures, allow_nan=False) + "\n")
        except OSError as error:
            raise cannot_write(file, error) from error

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one per epoch; a last one that was cut off is left out, else `DataError`."""
        file = self.path / "metrics.jsonl"
        mend = "remove that line, or the file: only reports read it"
        lines = read_json_lines(file, mend) if os.path.lexists(file) else []
        for number, figures in enumerate(lines, start=1):
            try:
                check_form(METRICS, figures, "")
            except DataError as error:
                raise DataError(f"{file}, line {number}: {error}; {mend}") from error
        if len({len(figures["firing"]) for figures in lines if "firing" in figures}) > 1:
            raise DataError(f"{file}: the lines tell of networks with other layers; {mend}")
        return lines

    def truncate_metrics(self, epoch: int) -> None:
        """Drop the lines after `epoch`, if any: what the checkpoint does not cover happens again."""
        file = self.path / "metrics.jsonl"
        lines = [json.dumps(figures) + "\n" for figures in self.metrics() if figures["epoch"] <= epoch]
        kept = "".join(lines).encode()
        if not file.exists() or read_bytes(file, MAX_TEXT) != kept:
            write_atomically(file, kept)


def default_path(name: str) -> Path:
    """`runs/<name>-<time>` below the current folder, made now, with a number added if that is taken.

    A name that leads elsewhere raises `UsageError`.
    """
    if Path(name).name != name or name.startswith("."):
        raise UsageError(
            f"name is {name!r}; it names a folder below runs, so use no separators, or give a place by --out"
        )
    base = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = base, 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:  # also of a run that starts in the same second
            number += 1
            path = base.with_name(f"{base.name}-{number}")
        except OSError as error:
            raise cannot_write(path, error) from error


def place(
    experiment: Experiment, out: Path | str | None, resume: bool, creates: bool, changed: bool = False
) -> Path:
    """Where a run lies: an existing one of the same experiment to resume, or a free place, `default_path` by default.

    `changed`: the experiment is that of the folder with named changes.

    `creates`: this process will make the folder, so the place must be free. Raises `UsageError`.
    """
    if resume:
        if out is None:
            raise UsageError("give the folder of the run to resume")
        folder = RunFolder.open(Path(out))
        if not changed and folder.experiment() != experiment:
            raise UsageError(
                f"{out} holds a run of another experiment; resume it with its own experiment.json"
            )
        return folder.path
    if out is None:  # processes that do not create are told the place
        return default_path(experiment.name) if creates else Path("runs")
    if creates:
        RunFolder.require_free(Path(out))
    return Path(out)
