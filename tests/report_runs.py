"""Run folders as training leaves them, made up for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from bitspike.metrics import summarise
from bitspike.prediction import Prediction

N_STEPS, N_INPUTS, N_HIDDEN, N_CLASSES = 64, 64, 40, 10


def experiment(rule: str = "S4NN", weights: str = "binary", seed: int = 1, **parts: Any) -> dict[str, Any]:
    coding = {"kind": "Pixel"} if rule == "BNN" else {"kind": "FirstSpike", "n_steps": N_STEPS}
    return {
        "kind": "Experiment",
        "name": "bs4nn",
        "data": {"kind": "Data", "name": "digits", "dir": None, "validation": 0.2},
        "coding": coding,
        "network": {"kind": "Network", "hidden": [N_HIDDEN], "delay": 0},
        "weights": {"kind": weights, "hidden": [-0.5, 0.5], "clip": 1.0},
        "rule": {"kind": rule, "gamma": 3},
        "training": {"kind": "Training", "epochs": 4, "batch_size": 20},
        "seed": seed,
        "backend": "auto",
    } | parts


def write_run(
    folder: Path, tree: dict[str, Any] | None = None, *, n: int = 2000, full: bool = True, seed: int = 1
) -> Path:
    """A run with all files (`full`) or only the two required ones."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = experiment(seed=seed) if tree is None else tree
    timed = tree["coding"]["kind"] != "Pixel"
    random = np.random.default_rng(seed)
    labels = random.integers(0, N_CLASSES, n)
    margins = random.normal(size=(n, N_CLASSES)) * 2
    margins[np.arange(n), labels] += 6
    times = np.clip(random.normal(25, 12, n), 0, N_STEPS - 1).astype(np.int64)
    silent = random.random(n) < 0.03
    arrays = {
        "labels": labels,
        "predicted": margins.argmax(1),
        "probabilities": torch.softmax(torch.from_numpy(margins), 1).numpy().astype(np.float32),
        "decision_time": np.where(silent, N_STEPS, times) if timed else np.zeros(n, dtype=np.int64),
        "silent": silent & timed,
        "n_spikes": random.integers(50, 150, n),
    }
    write_json(folder / "experiment.json", tree)
    if not full:
        write_json(folder / "evaluation.json", {"accuracy": 0.875})
        return folder
    tied = np.eye(N_CLASSES, dtype=bool)[arrays["predicted"]] & ~arrays["silent"][:, None]
    prediction = Prediction(
        labels=torch.from_numpy(arrays["predicted"]),
        probabilities=torch.from_numpy(arrays["probabilities"]),
        decision_time=torch.from_numpy(arrays["decision_time"]),
        silent=torch.from_numpy(arrays["silent"]),
        tied=torch.from_numpy(tied),
        potentials=torch.from_numpy(margins.astype(np.float32)),
        n_spikes=torch.from_numpy(arrays["n_spikes"]),
        n_synops=torch.from_numpy(arrays["n_spikes"] * 30),
    )
    evaluation = summarise(prediction, torch.from_numpy(labels), N_STEPS) | {
        "model_bytes": 912,
        "seconds": 0.5,
    }
    if timed:
        evaluation["robustness"] = {
            "jitter": [[0, 0.95], [8, 0.94], [32, 0.9]],
            "deletion": [[0, 0.95], [0.5, 0.7]],
        }
        evaluation["threshold_sweep"] = [
            {"threshold": t, "accuracy": 0.9 + 0.01 * t, "silent": 0.01 * t, "decision_time": 20.0 + t}
            for t in range(6)
        ]
    write_json(folder / "evaluation.json", evaluation)
    write_json(
        folder / "manifest.json", {"versions": {"torch": "2.13"}, "git": None, "command": ["train", "a"]}
    )
    epochs = [
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "accuracy": 1 - 0.3 / epoch,
            "validation_accuracy": None if epoch == 2 else 0.96 - 0.3 / epoch,
            "firing": [0.3, 0.9],
            "seconds": 1.5,
        }
        for epoch in range(1, 5)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    save_file(arrays | _examples(random, arrays, timed), folder / "evaluation.safetensors")
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def _examples(random: np.random.Generator, arrays: dict[str, Any], timed: bool) -> dict[str, Any]:
    k = 12
    images = random.integers(0, 256, (k, 8, 8)).astype(np.uint8)
    examples = {
        "example_images": images,
        "example_labels": arrays["labels"][:k],
        "example_predicted": arrays["predicted"][:k],
    }
    if not timed:
        return examples
    inputs = ((255 - images.reshape(k, -1).astype(np.int64)) * N_STEPS // 255).astype(np.int16)
    outputs = random.integers(30, N_STEPS + 1, (k, N_CLASSES)).astype(np.int16)
    outputs[np.arange(k), examples["example_predicted"]] = 25
    outputs[3] = N_STEPS  # one silent example
    return examples | {
        "example_input_times": inputs,
        "example_hidden_times": random.integers(5, N_STEPS + 1, (k, N_HIDDEN)).astype(np.int16),
        "example_output_times": outputs,
    }
