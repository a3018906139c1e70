"""Points of a plane: what is decided everywhere, and how certainly, near the training points and far from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data import Plane
from bitspike.metrics.ood import mutual_information
from bitspike.networks.base import Network

SIDE = 100  # points per side of the grid
FAR = 0.15  # from here on a point is far from the training points, in scaled coordinates


def surface(
    plane: Plane, encode: Callable[[Any], Any], networks: Mapping[str, Network], noise: torch.Generator
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Mean confidence at the grid points at least `FAR` from every training point, by network, and arrays to draw.

    `encode` codes images. Arrays, entry (i, j) at the point (j / SIDE, i / SIDE): `surface_NAME`, the probability of
    class 1, and of several members `surface_NAME_information`, their mutual information in nats; `points_train` (n, 2),
    `points_train_labels`, `points_test`.
    """
    images, points = plane.grid(SIDE)
    far = torch.from_numpy(distance(points, plane.train) >= FAR)
    coded = encode(images)
    confidence: dict[str, float] = {}
    arrays = {
        "points_train": torch.from_numpy(plane.train.astype(np.float32)),
        "points_train_labels": torch.from_numpy(plane.train_labels),
        "points_test": torch.from_numpy(plane.test.astype(np.float32)),
    }
    for name, network in networks.items():
        prediction = network.decide(coded, noise)
        confidence[name] = float(prediction.probabilities.double().amax(1)[far].mean())
        arrays[f"surface_{name}"] = prediction.probabilities[:, 1].reshape(SIDE, SIDE)
        # an ensemble's members differ from batch to batch, and so would their disagreement
        if prediction.members is not None and len(network.parts) > 1:
            information = mutual_information(prediction.members.transpose(0, 1))
            arrays[f"surface_{name}_information"] = information.float().reshape(SIDE, SIDE)
    return confidence, arrays


def distance(points: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """From each of `points` (n, 2) to the nearest of `others` (m, 2), (n,)."""
    squares = ((points[:, None, :] - others[None]) ** 2).sum(2)
    return np.asarray(np.sqrt(squares.min(axis=1)))
