"""Two moons: what is decided all over the plane, and how certainly, near the training points and far from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.contracts import Rule
from bitspike.data.synthetic import moons_grid, moons_points
from bitspike.metrics.ood import mutual_information
from bitspike.networks.committee import Committee
from bitspike.training.deciding import predict_all

SIDE = 100  # points per side of the grid
FAR = 0.15  # from here on a point is far from the training points, in scaled coordinates


def surface(
    rule: Rule, encode: Any, models: Mapping[str, nn.Module], noise: torch.Generator
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Mean confidence at the grid points at least `FAR` from every training point, by model, and arrays to draw.

    `encode` codes images. Arrays, entry (i, j) at the point (j / SIDE, i / SIDE): `surface_NAME`, the probability of
    class 1, and of several members `surface_NAME_information`, their mutual information in nats; `points_train` (n, 2),
    `points_train_labels`, `points_test`.
    """
    images, points = moons_grid(SIDE)
    train, train_labels, test, _ = moons_points()
    far = torch.from_numpy(distance(points, train) >= FAR)
    coded = encode(images)
    confidence: dict[str, float] = {}
    arrays = {
        "points_train": torch.from_numpy(train.astype(np.float32)),
        "points_train_labels": torch.from_numpy(train_labels),
        "points_test": torch.from_numpy(test.astype(np.float32)),
    }
    for name, model in models.items():
        prediction = predict_all(rule, model, coded, noise)
        confidence[name] = float(prediction.probabilities.double().amax(1)[far].mean())
        arrays[f"surface_{name}"] = prediction.probabilities[:, 1].reshape(SIDE, SIDE)
        # an ensemble's members differ from batch to batch, and so would their disagreement
        if isinstance(model, Committee) and prediction.members is not None:
            information = mutual_information(prediction.members.transpose(0, 1))
            arrays[f"surface_{name}_information"] = information.float().reshape(SIDE, SIDE)
    return confidence, arrays


def distance(points: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """From each of `points` (n, 2) to the nearest of `others` (m, 2), (n,)."""
    squares = ((points[:, None, :] - others[None]) ** 2).sum(2)
    return np.asarray(np.sqrt(squares.min(axis=1)))
