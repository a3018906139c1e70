"""The embedded data set: 1,797 real handwritten digits of 8 x 8 pixels that come with scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from bitspike.data.dataset import Dataset
from bitspike.data.idx import idx_sha256


def digits() -> Dataset:
    """UCI's optical digits (of its test part), 0..16 scaled to 0..255.

    Of each class every fifth image is test data: 20 %, the same whatever the seed.
    """
    bunch = load_digits()
    images = ((bunch.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    place = np.zeros_like(labels)  # of an image among those of its class
    for label in range(10):
        place[labels == label] = np.arange(np.count_nonzero(labels == label))
    test = place % 5 == 4
    parts = {
        "train_inputs": images[~test], "train_labels": labels[~test],
        "test_inputs": images[test], "test_labels": labels[test],
    }  # fmt: skip
    hashes = {name: idx_sha256(part.astype(np.uint8)) for name, part in parts.items()}
    return Dataset("digits", **parts, classes=tuple("0123456789"), hashes=hashes)
