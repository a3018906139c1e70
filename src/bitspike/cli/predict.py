"""`bitspike predict`: decide on images and recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from bitspike.cli._terminal import Command, bind, table

if TYPE_CHECKING:
    from bitspike.packed.contents import Contents


def predict(
    model: tyro.conf.Positional[Path],
    files: tyro.conf.Positional[tuple[Path, ...]],
    *,
    backend: Literal["auto", "native", "reference"] = "auto",
    abstain: float | None = None,
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Decide on images or recordings with a packed model: label, probability, decision time.

    example: bitspike predict runs/first/model.bitspike seven.png more.npy

    example: bitspike predict runs/first/model.bitspike seven.png --abstain 0.05

    Args:
        model: a model file
        files: png (one image), npy or idx (one or many); for models of events N-MNIST files (.bin) or AEDAT 2.0
            files of a DVS128 (.aedat), for models of sound WAV or NIST SPHERE files
        backend: what runs the model
        abstain: alpha: answer only where the set of classes that holds the right one with probability 1 - alpha has
            exactly one class, refuse elsewhere; what that promises: docs/metrics.md, "Conformal sets"
        plugin: a module of yours, which defines a network or a coding that the model file names; may be repeated
    """
    from bitspike.deploy.load import load
    from bitspike.errors import UsageError
    from bitspike.packed import conformal

    if not files:
        raise UsageError("which inputs? bitspike predict MODEL FILE...")
    if abstain is not None:
        conformal.check_alpha(abstain)
    packed = load(model, backend, plugins=plugin)
    threshold = None
    if abstain is not None:
        threshold = conformal.threshold_for(packed.contents.conformal, abstain)
    rows = []
    for file, inputs in [(file, _read(packed.contents, file)) for file in files]:
        decided = packed.decide(inputs)
        probabilities = packed.probabilities(decided)
        within = None if threshold is None else conformal.sets(probabilities, threshold)
        for index, label in enumerate(decided.labels.tolist()):
            rows.append(
                {
                    "file": str(file),
                    "input": index,
                    # of a regression, which has no classes, its value
                    "label": packed.classes[label] if packed.classes else str(probabilities[index, 0]),
                    "probability": round(float(probabilities[index, label]), 6) if packed.classes else None,
                    "decision_time": int(decided.decision_time[index]),
                    "silent": bool(decided.silent[index]),
                    **({} if within is None else _answer(packed.classes, within[index].tolist())),
                }
            )
    return {"predictions": rows} if abstain is None else {"predictions": rows, "alpha": abstain}


def _answer(classes: tuple[str, ...], within: list[bool]) -> dict[str, Any]:
    """The set of classes; the answer if it is one class, else None: refused."""
    held = [name for name, inside in zip(classes, within, strict=True) if inside]
    return {"answer": held[0] if len(held) == 1 else None, "refused": len(held) != 1, "set": held}


def _read(contents: Contents, file: Path) -> Any:
    """What a file holds, as the model takes it."""
    from bitspike.data import images
    from bitspike.data.audio import read_sound
    from bitspike.data.recordings import Audio
    from bitspike.errors import DataError

    takes = contents.network.takes
    if takes in ("events", "sound"):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
        if takes == "events":
            height, width = contents.input_shape[-2:]
            return _recording(content, str(file), (height, width))
        samples, rate = read_sound(content, str(file))
        return Audio.join([samples], rate)
    found = images.read_inputs(file, contents.input_shape)
    return found.reshape(len(found), -1)


def _recording(content: bytes, where: str, sensor: tuple[int, int]) -> Any:
    """One recording of events; a model for MNIST-DVS gets the part of it that it was trained on."""
    from bitspike.data import aedat2, events
    from bitspike.data.recordings import Events
    from bitspike.errors import DataError

    if content[:1] == b"#":  # no N-MNIST file: its first byte is x, below 34
        found, its_sensor = aedat2.decode_aedat(content, where), aedat2.SENSOR
        if sensor == aedat2.CROPPED:
            found, its_sensor = aedat2.cropped(found), sensor
    else:
        found, its_sensor = events.decode_nmnist(content, where), events.SENSOR
    if sensor != its_sensor:
        raise DataError(
            f"{where}: recorded with {its_sensor[0]} x {its_sensor[1]} pixels, the model needs {sensor[0]} x "
            f"{sensor[1]}; give it recordings of its own camera"
        )
    return Events.join([found], sensor)


def command(arguments: list[str]) -> Command:
    return bind(predict, arguments, "bitspike predict")


def show(result: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = result["predictions"]
    columns = ["file", "input", "label", "probability", "decision_time", "silent"]
    if "alpha" in result:
        columns = ["file", "input", "answer", "set", "probability", "decision_time", "silent"]
        rows = [
            row
            | {
                "answer": "refused" if row["refused"] else row["answer"],
                "set": ", ".join(row["set"]) or "none",
            }
            for row in rows
        ]
    table([name.replace("_", " ") for name in columns], ([row[name] for name in columns] for row in rows))
    if "alpha" in result:
        print(f"refused {sum(row['refused'] for row in rows)} of {len(rows)} at alpha {result['alpha']:g}")
