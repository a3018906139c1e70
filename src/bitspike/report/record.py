"""Read a run folder as plain data: JSON, JSON lines and arrays, checked for what the report needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitspike.errors import DataError
from bitspike.report import older
from bitspike.report.arrays import Array, read_arrays
from bitspike.training.run_folder import RunFolder

_TRAINS = re.compile(r"example_layer\d+_spikes|layer\d+_histogram")


@dataclass(frozen=True)
class RunRecord:
    """What one run left behind; `manifest`, `epochs` and `arrays` are empty where their files are absent."""

    path: Path
    experiment: dict[str, Any]  # experiment.json
    evaluation: dict[str, Any]  # evaluation.json; has `accuracy`, or `rmse` of a regression
    manifest: dict[str, Any]  # manifest.json
    epochs: list[dict[str, Any]]  # metrics.jsonl, one object per epoch
    arrays: dict[str, Array]  # evaluation.safetensors

    def part(self, *names: str) -> Any:
        """A value of the experiment by path, such as part("weights", "kind"); None where it is absent."""
        value: Any = self.experiment
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def has(self, *names: str) -> bool:
        """Are all these arrays there and not empty?"""
        return all(name in self.arrays and self.arrays[name].size for name in names)

    def kind(self, *names: str) -> str | None:
        """The class of a part of the experiment, such as kind("rule"); of an import path the last part."""
        return older.kind_of(self.part(*names))

    @property
    def decides(self) -> str:
        """When the network answers: "first spike", "window" or "once" (no time at all)."""
        return str(self.evaluation.get("decides") or older.decides(self.experiment))

    @property
    def spiking(self) -> bool:
        """Does deciding take time? Not where a network sees its input all at once."""
        return self.decides != "once"

    @property
    def windowed(self) -> bool:
        """Does the whole window decide?"""
        return self.decides == "window"

    @property
    def timed(self) -> bool:
        """Does the first output spike decide?"""
        return self.decides == "first spike"

    @property
    def trains(self) -> bool:
        """Did the run keep spike trains of its layers?"""
        return any(_TRAINS.fullmatch(name) for name in self.arrays)

    @property
    def regression(self) -> bool:
        """Are targets numbers, and errors their distances?"""
        return "accuracy" not in self.evaluation

    @property
    def n_members(self) -> int:
        """Networks that decide together; 1 of a network by itself."""
        together = self.part("predict", "mode") in ("committee", "ensemble")
        return int(self.part("predict", "draws") or 1) if together else 1

    @property
    def modes(self) -> dict[str, dict[str, float]]:
        """Figures of each way to decide, the run's own among them; see `own_mode`."""
        found: dict[str, dict[str, float]] = self.evaluation.get("modes") or {}
        return found

    @property
    def own_mode(self) -> str | None:
        """The name among `modes` of what the run evaluated and packed; None where there are none."""
        mode = self.part("predict", "mode") or "map"
        return next((name for name in ("network", mode) if name in self.modes), None)

    @property
    def data(self) -> dict[str, Any]:
        """What the manifest says about the data; empty without a manifest."""
        found = self.manifest.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def noun(self) -> str:
        """What one input is called."""
        return str(self.data.get("noun") or older.noun(self.experiment))

    @property
    def named(self) -> bool:
        """Do classes have names that say more than their numbers?"""
        return any(name != str(number) for number, name in enumerate(self._names))

    def class_name(self, number: int, most: int = 12) -> str:
        """The name of a class, its number where it has none; cut to `most` characters, the last of them "…" then."""
        name = self._names[number] if 0 <= number < len(self._names) else ""
        name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))
        name = name or str(number)
        return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"

    @property
    def _names(self) -> list[str]:
        names = self.data.get("classes")
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def n_steps(self) -> int | None:
        """Steps of the coding; a spike time of `n_steps` means never."""
        given: int | None = self.evaluation.get("n_steps", self.part("coding", "n_steps"))
        return given if self.spiking else None

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The layers from the input on: `name`, `neurons`, and what the evaluation says, such as `threshold`,
        `weights`, `synapses` or `mean_count`; empty where a run does not describe them."""
        found: list[dict[str, Any]] = self.evaluation.get("layers") or []
        described = all("name" in layer and "neurons" in layer for layer in found)
        return found if described else older.layers(self.experiment, found)

    def layer_title(self, index: int) -> str:
        """What a layer is called in figures: "input", "output", "hidden 2", or a name that says more, as 8C3."""
        name = str(self.layers[index]["name"])
        plain = [i for i, layer in enumerate(self.layers) if str(layer["name"]).isdigit()]
        if index not in plain:
            return name
        return "hidden" if len(plain) == 1 else f"hidden {plain.index(index) + 1}"

    @property
    def sweep(self) -> list[dict[str, Any]]:
        """Rows `{threshold, accuracy, silent, decision_time}`, without the ends where nothing changes."""
        calibration = self.evaluation.get("calibration") or {}
        rows: list[dict[str, Any]] = self.evaluation.get("threshold_sweep") or calibration.get("sweep") or []
        figures = [{k: v for k, v in row.items() if k != "threshold"} for row in rows]
        changes = [i for i in range(1, len(rows)) if figures[i] != figures[i - 1]]
        return rows[changes[0] - 1 : changes[-1] + 1] if changes else rows

    @property
    def chosen_threshold(self) -> float | None:
        """The threshold of the sweep that calibration chose, where the run says so."""
        start = self.part("rule", "theta_out")
        shift = (self.evaluation.get("calibration") or {}).get("threshold_shift")
        return None if start is None or shift is None else float(start + shift)

    @property
    def widths(self) -> tuple[int, ...] | None:
        """Layer widths (inputs, hidden..., classes) of a network without weights that are shared, where the arrays
        tell the outer two."""
        hidden = self.part("network", "hidden")
        if self.windowed or not isinstance(hidden, list) or not self.has("probabilities"):
            return None
        if not all(str(width).isdigit() for width in hidden):
            return None
        if self.has("example_input_times"):
            n_inputs = self.arrays["example_input_times"].shape[1]
        elif self.has("example_images"):
            n_inputs = int(np.prod(self.arrays["example_images"].shape[1:]))
        else:
            return None
        return (n_inputs, *map(int, hidden), self.arrays["probabilities"].shape[1])

    @property
    def shape(self) -> tuple[str, ...] | None:
        """The network from inputs to classes, as in 64, 8C3, P2, 10; None where its ends are unknown.

        A network whose readouts are fixed, and no layer, ends with its last hidden layer.
        """
        if self.widths:
            return tuple(str(width) for width in self.widths)
        ends = [str(layer["neurons"]) for layer in self.layers]
        hidden = [str(width) for width in self.part("network", "hidden") or ()]
        if not ends or not hidden:
            return tuple(ends) or None
        stacked = [width for width in hidden if not width.startswith("P")]
        return (ends[0], *hidden, *ends[-1:]) if len(ends) > 1 + len(stacked) else (ends[0], *hidden)


def read_record(path: Path) -> RunRecord:
    """Read and check a run folder.

    experiment.json and evaluation.json (with `accuracy`, or `rmse` of a regression) are required; manifest.json,
    metrics.jsonl and evaluation.safetensors are optional. Raises `DataError` naming the file.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; give the folder of one run")
    if not (path / "evaluation.json").exists():
        raise DataError(f"{path / 'evaluation.json'} is missing; evaluate the run first")
    folder = RunFolder.open(path)
    evaluation = folder.evaluation()
    if "accuracy" not in evaluation and "rmse" not in evaluation:
        raise DataError(
            f"{path / 'evaluation.json'} has no number `accuracy`, nor `rmse`; evaluate the run again"
        )
    model = path / "model.bitspike"
    if model.is_file():
        evaluation.setdefault("model_bytes", model.stat().st_size)
    return RunRecord(
        path=path,
        experiment=folder.plain_experiment(),
        evaluation=evaluation,
        manifest=folder.manifest() if (path / "manifest.json").exists() else {},
        epochs=folder.metrics(),
        arrays=read_arrays(folder.evaluation_arrays),
    )
