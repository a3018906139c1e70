"""Conformal thresholds in model files: round trip, damage, and the sets and refusals that follow from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitspike.coding import Direct
from bitspike.deploy.model import Model
from bitspike.deploy.pack import with_conformal
from bitspike.errors import DataError, FormatError, UsageError
from bitspike.metrics import (
    conformal_grid,
    conformal_threshold,
    label_scores,
    prediction_sets,
)
from bitspike.packed.conformal import sets, threshold_for
from bitspike.packed.contents import Contents
from bitspike.packed.file import decode, encode
from lif_nets import dense, random_trains
from packed_nets import random_heaviside, random_images, random_network
from spoil import parts, whole

PAIRS = ((0.01, 0.98), (0.05, 0.6), (0.2, 0.6), (0.5, 0.0))
RNG = np.random.default_rng(0)
IMAGES = random_images(RNG, 40, 12)
FIRST_SPIKE = Contents(random_network(RNG, (12, 16, 3), "bb"), (3, 4), tuple("abc"), 2.0)
CONTENTS = {
    "first_spike": FIRST_SPIKE,
    "pixel": Contents(random_heaviside(RNG, (12, 16, 3)), (3, 4), tuple("abc"), 5.0),
    "direct": Contents(
        random_trains(RNG, dense(12, 16, 3), False, Direct(40, 0.5)), (3, 4), tuple("abc"), 0.5
    ),
}


def damaged(data: bytes, value: Any) -> bytes:
    """The file with another value of the field."""
    metadata, tensors = parts(data)
    return whole(metadata | {"conformal": value}, tensors)


def test_only_files_with_thresholds_have_the_field() -> None:
    model = Model(FIRST_SPIKE, "reference")
    with_them = with_conformal(model, PAIRS)
    assert model.contents.conformal == ()
    assert with_them.backend == "reference"
    assert b"conformal" not in encode(model.contents)
    assert decode(encode(with_them.contents)).conformal == PAIRS


@pytest.mark.parametrize("coding", CONTENTS)
def test_sets_and_refusals(coding: str) -> None:
    model = with_conformal(Model(CONTENTS[coding]), PAIRS)
    probabilities = model.predict_proba(IMAGES).astype(np.float64)
    for alpha, threshold in PAIRS:
        expected = 1 - probabilities <= threshold
        np.testing.assert_array_equal(model.sets(IMAGES, alpha), expected)
        answers = model.abstain(IMAGES, alpha)
        assert answers.dtype == np.int64
        one = expected.sum(1) == 1
        np.testing.assert_array_equal(answers, np.where(one, model.predict(IMAGES), -1))
    sizes = [int(model.sets(IMAGES, alpha).sum()) for alpha, _ in PAIRS]
    assert sizes[0] > sizes[1] == sizes[2] > sizes[3]
    assert bool((model.abstain(IMAGES, 0.05) >= 0).any())
    assert bool((model.abstain(IMAGES, 0.01) == -1).any())
    assert set(model.abstain(IMAGES[1:2], 0.5)) <= {-1, *model.predict(IMAGES[1:2])}


def test_the_next_smaller_alpha_counts() -> None:
    assert threshold_for(PAIRS, 0.01) == threshold_for(PAIRS, 0.049) == 0.98
    assert threshold_for(PAIRS, 0.05) == threshold_for(PAIRS, 0.4) == 0.6
    assert threshold_for(PAIRS, 0.99) == 0.0
    with pytest.raises(UsageError, match=r"supports 0\.01 and above.*validation"):
        threshold_for(PAIRS, 0.005)
    with pytest.raises(UsageError, match="train again"):
        threshold_for((), 0.1)
    for alpha in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            threshold_for(PAIRS, alpha)


def test_numpy_and_torch_make_the_same_sets() -> None:
    logits = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * 3
    probabilities = logits.softmax(1)
    for threshold in (0.0, 0.3, 0.9, 1 - 1e-7, 1.0):
        ours = sets(probabilities.numpy(), threshold)
        assert ours.tolist() == prediction_sets(probabilities, threshold).tolist()


def test_thresholds_survive_the_last_bits_of_another_engine() -> None:
    """Probabilities that differ by 1e-5 of themselves never shut a calibration sample out."""
    generator = torch.Generator().manual_seed(1)
    probabilities = (torch.randn(300, 5, generator=generator) * 4).softmax(1)
    labels = torch.randint(5, (300,), generator=generator)
    scores = label_scores(probabilities, labels)
    for alpha, threshold in conformal_grid(scores):
        kept = prediction_sets(probabilities, conformal_threshold(scores, alpha))
        nudged = sets((probabilities * (1 - 1e-5)).numpy(), threshold)
        assert bool((torch.from_numpy(nudged) | ~kept).all())


SPOILT: list[tuple[str, Any]] = [
    ("expected a list", "0.1"),
    ("expected a list", {}),
    ("expected a list", []),
    ("expected a list", None),
    ("holds 0.1", [0.1, 0.2]),
    ("holds", [[0.1]]),
    ("holds", [[0.1, 0.5, 0.5]]),
    ("holds", [[0.1, "0.5"]]),
    ("holds", [[0.1, 1]]),
    ("holds", [[0.1, True]]),
    ("holds", [[0.1, None]]),
    ("must rise", [[0.0, 0.5]]),
    ("must rise", [[1.0, 0.5]]),
    ("must rise", [[0.1, 0.5], [0.1, 0.5]]),
    ("must rise", [[0.2, 0.5], [0.1, 0.6]]),
    (r"in 0\.\.1", [[0.1, 1.5]]),
    (r"in 0\.\.1", [[0.1, -0.1]]),
    ("larger alpha", [[0.1, 0.5], [0.2, 0.6]]),
    ("at most 64", [[k / 100, 0.5] for k in range(1, 66)]),
    ("NaN is not a number", [[0.1, float("nan")]]),
    ("Infinity is not a number", [[0.1, float("inf")]]),
    (r"in 0\.\.1|header", [[0.1, 1e308]]),
]


@pytest.mark.parametrize(("match", "value"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_damaged_fields_are_refused(match: str, value: Any) -> None:
    data = encode(FIRST_SPIKE)
    assert decode(damaged(data, [[0.1, 0.5]])).conformal == ((0.1, 0.5),)
    with pytest.raises(FormatError, match=match):
        decode(damaged(data, value))


numbers = st.one_of(
    st.floats(), st.integers(-2, 2), st.floats(0, 1), st.booleans(), st.none(), st.text(max_size=3)
)
anything = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
pairs = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)).map(list), max_size=6)


@given(st.one_of(anything, pairs, st.lists(st.tuples(numbers, numbers).map(list), max_size=3)))
def test_whatever_the_field_holds_is_used_or_refused(value: Any) -> None:
    try:
        contents = decode(damaged(encode(FIRST_SPIKE), value))
    except DataError:
        return
    model = Model(contents, "reference")
    found = model.sets(IMAGES[:3], max(alpha for alpha, _ in contents.conformal))
    assert found.shape == (3, 3)


def test_contents_refuse_thresholds_that_cannot_be() -> None:
    for contents in CONTENTS.values():
        with pytest.raises(UsageError, match="must rise"):
            dataclasses.replace(contents, conformal=((0.2, 0.5), (0.1, 0.5)))
