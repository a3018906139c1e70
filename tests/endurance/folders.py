"""Hostile run folders: one file is damaged at a time, and a verb reads the folder.

    PYTHONPATH=tests python tests/endurance/folders.py [--most 1500] [--seed 1]

Every file of a finished and of an interrupted run, in every way, before every verb; a seed draws `--most` of them. A
verb ends with 0, or with 2 (1 where models decide differently) and one sentence that names something in the folder; it
takes less than two gigabytes and a minute, and writes no control characters.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from limited import GB, Tally, finish, in_child
from safetensors.numpy import load, save

Damage = Callable[[Path], None]
RECIPES = {
    "first spike": "bs4nn-digits --network.hidden 12",
    "bnn": "bnn-digits --network.hidden 12",
    "lif": "hm2bp-digits --network.hidden 12",
    "srm": "st-bisnn-moons --network.hidden 6 6",
    "s4nn": "bs4nn-digits-s4nn",  # from settings, see `make`
}
SHORT = "--training.epochs 2 --seed 3"
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    3,
    32768,
    10**9,
    10**30,
    1e-300,
    1e300,
    "x",
    "\x1b[31mred",
    [],
    [1],
    [[1]],
    {},
    {"kind": "x"},
)
NUMBERS = (0, -1, 1e30, 1e9)
JSON = ("experiment.json", "manifest.json", "evaluation.json", "metrics.jsonl")
TENSORS = ("evaluation.safetensors", "checkpoint.safetensors", "model.bitspike")


def verbs(run: Path) -> dict[str, list[str]]:
    """Command lines that read a run folder, by name."""
    return {
        "resume": ["train", "--resume", str(run)],
        "eval": ["eval", str(run)],
        "eval --reference": ["eval", str(run), "--reference"],
        "pack": ["pack", str(run)],
        "report": ["report", str(run)],
        "committee": ["committee", str(run), str(run), "-o", str(run.parent / "two.bitspike")],
        "predict": ["predict", str(run / "model.bitspike"), str(run.parent / "images.npy")],
    }


def replaced(text: str | bytes) -> Damage:
    data = text if isinstance(text, bytes) else text.encode()
    return lambda file: (file.unlink(missing_ok=True), file.write_bytes(data))[0]


def linked(target: str) -> Damage:
    return lambda file: (file.unlink(missing_ok=True), file.symlink_to(target))[0]


def of_any_file() -> Iterator[tuple[str, Damage]]:
    """Damage that needs no look into the file."""
    for name, text in {
        "empty": "", "one byte": "{", "brackets": "[" * 200_000, "objects": '{"a":' * 50_000, "a list": "[]",
        "a number": "7", "NaN": '{"accuracy": NaN, "epoch": 1}', "digits": '{"epoch": ' + "9" * 5000 + "}",
        "bytes": bytes(range(256)) * 9, "zeros": bytes(3000),
        "pickle": b"\x80\x04K\x01.", "long header": struct.pack("<Q", 2**62) + b"{}",
        "escapes": '{"name": "\x1b[2J", "\x1b[31m": 1}', "lone surrogate": '{"name": "\\ud800"}',
    }.items():  # fmt: skip
        yield name, replaced(text)
    yield "missing", lambda file: file.unlink(missing_ok=True)
    yield "link to zeros", linked("/dev/zero")
    yield "link to nothing", linked("nowhere")
    yield "link to itself", lambda file: (file.unlink(missing_ok=True), file.symlink_to(file.name))[0]
    yield "folder", lambda file: (file.unlink(missing_ok=True), file.mkdir())[0]
    yield "pipe", lambda file: (file.unlink(missing_ok=True), os.mkfifo(file))[0]
    for share in (0.3, 0.7, 0.99):
        yield (
            f"cut at {share}",
            lambda file, share=share: file.write_bytes((data := file.read_bytes())[: int(share * len(data))]),
        )


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places in a JSON tree: all of objects, the first two of lists."""
    if path:
        yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree[:2]) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from leaves(value, (*path, key))


def of_json(file: Path) -> Iterator[tuple[str, Damage]]:
    """Every value replaced by every other kind of value, and left out."""
    lines = file.name.endswith("l")
    tree = json.loads(file.read_text().splitlines()[0] if lines else file.read_text())

    def changed(path: tuple[Any, ...], value: Any, leave_out: bool = False) -> Damage:
        def change(file: Path) -> None:
            rows = file.read_text().splitlines() if lines else [file.read_text()]
            whole = json.loads(rows[0])
            place = whole
            for key in path[:-1]:
                place = place[key]
            if leave_out:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            file.write_text("\n".join([json.dumps(whole), *rows[1:]]) + "\n")

        return change

    for path in leaves(tree):
        name = ".".join(map(str, path))
        yield f"without {name}", changed(path, None, True)
        for value in VALUES:
            yield f"{name} = {json.dumps(value)}", changed(path, value)


def of_tensors(file: Path) -> Iterator[tuple[str, Damage]]:
    """Every tensor with other numbers, another shape or type, or left out; every field of the metadata as in JSON."""
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    known = header.get("__metadata__", {})

    def changed(name: str, change: Callable[[Any], Any]) -> Damage:
        def go(file: Path) -> None:
            tensors = load(data)
            new = change(tensors.pop(name).copy())
            file.write_bytes(save(tensors | ({} if new is None else {name: new}), known or None))

        return go

    def filled(value: Any) -> Callable[[Any], Any]:
        def fill(tensor: Any) -> Any:
            with np.errstate(all="ignore"):
                tensor.reshape(-1)[:1] = np.array(value).astype(tensor.dtype)
            return tensor

        return fill

    for name, tensor in load(data).items():
        yield f"without {name}", changed(name, lambda tensor: None)
        yield f"{name} twice as long", changed(name, lambda t: np.concatenate([t, t]) if t.ndim else t[None])
        yield f"{name} empty", changed(name, lambda t: t[:0] if t.ndim else t[None])
        yield f"{name} flat", changed(name, lambda t: t.reshape(-1))
        yield f"{name} as uint8", changed(name, lambda t: np.zeros(t.shape, np.uint8))
        yield f"{name} as float64", changed(name, lambda t: t.astype(np.float64))
        for value in NUMBERS + ((np.nan, np.inf) if tensor.dtype.kind == "f" else ()):
            yield f"{name} has {value}", changed(name, filled(value))
    facts = json.loads(known.get("bitspike", "{}"))

    def with_fact(key: str, value: Any) -> Damage:
        return lambda file: (
            file.write_bytes(save(load(data), {"bitspike": json.dumps({**facts, key: value})})) and None
        )

    for key in facts:
        for value in VALUES:
            yield f"{key} = {json.dumps(value)}", with_fact(key, value)


def make(main: Callable[[list[str]], int], place: Path) -> list[tuple[str, Path]]:
    """Finished and interrupted runs of every family."""
    from bitspike.training import resume
    from small_runs import interrupted

    runs = []
    for family, words in RECIPES.items():
        options = words.split()
        if family == "s4nn":
            options = [
                "bs4nn-mnist-paper",
                "--data",
                "digits",
                "--network.hidden",
                "12",
                "--coding.n-steps",
                "32",
            ]
        for state in ("finished", "interrupted"):
            folder = place / f"{family.replace(' ', '-')}-{state}"
            line = ["train", *options, *SHORT.split(), "--out", str(folder)]
            if state == "finished":
                assert main(line) == 0, family
            else:
                shutil.copytree(place / f"{family.replace(' ', '-')}-finished", folder)
                for name in ("checkpoint.safetensors", "metrics.jsonl", "evaluation.json", "model.bitspike"):
                    (folder / name).unlink()
                with interrupted(2, True):
                    resume(folder, progress=False)
            runs.append((family, folder))
    return runs


def cases(runs: list[tuple[str, Path]]) -> list[tuple[str, Path, str, str, Damage, str]]:
    found = []
    for family, folder in runs:
        for file in sorted(folder.iterdir()):
            if file.name not in (*JSON, *TENSORS):
                continue
            damages = [*of_any_file(), *(of_json if file.name in JSON else of_tensors)(file)]
            for what, damage in damages:
                for verb in verbs(folder):
                    found.append((family, folder, file.name, what, damage, verb))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    import torch

    from bitspike.cli import main as command

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        clean, work = Path(place) / "clean", Path(place) / "work"
        clean.mkdir()
        work.mkdir()
        log = Path(place) / "log"
        runs = make(command, clean)
        chosen = cases(runs)
        total = len(chosen)
        random.Random(given.seed).shuffle(chosen)
        tally = Tally(f"folders ({total:,} possible)", min(given.most, total))
        for family, folder, name, what, damage, verb in chosen[: given.most]:
            shutil.rmtree(work)
            work.mkdir()
            run = work / "run"
            shutil.copytree(folder, run)
            np.save(work / "images.npy", np.zeros((1, 8, 8), np.uint8))
            damage(run / name)
            line = verbs(run)[verb]
            code = in_child(lambda line=line: command(line), log, 60, 2 * GB)
            said = log.read_text(errors="replace")
            tally.add(
                f"exit {code}", fault_of(code, said, work, f"{family} {folder.name}: {verb}, {name} {what}")
            )
        tally.show("\n")
    finish([tally])


def fault_of(code: int, said: str, work: Path, where: str) -> str | None:
    """What is wrong with an end, None where nothing is."""
    last = [line for line in said.splitlines() if line.startswith("bitspike: ")]
    text = last[-1] if last else said[-200:]
    if "\x1b" in said:
        return f"{where}: control characters: {text!r:.300}"
    if code == 0:
        return None
    if code in (1, 2) and last and "add --traceback" not in said and str(work) in text:
        return None if code == 2 or "decides differently" in text else f"{where}: exit {code}, {text[:300]}"
    return f"{where}: exit {code}, {text!r:.400}"


if __name__ == "__main__":
    main()
