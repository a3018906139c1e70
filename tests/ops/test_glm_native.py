"""The native window of circuits equals the reference: every sum it gives, on equal draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

pytest.importorskip("bitspike._native")

from bitspike import _native
from bitspike.errors import UsageError
from bitspike.ops.glm import block, native
from bitspike.ops.glm.block import Learned
from bitspike.ops.glm.settings import Signal
from bitspike.ops.lif.signals import pack
from glm_windows import EVERY, SKIP, Drawn, draw

ISAS = _native.instruction_sets()
SIGNALS = [
    Signal("vector"),
    Signal("vector", draws=3, alpha=0.3, silence=0.8),
    Signal("scalar", baseline="mean", lam=0.7),
    Signal("scalar", alpha=0.3, same_step=True),
    Signal("scalar", draws=3, baseline="leave-one-out", alpha=0.2),
    Signal("importance", draws=3, lam=1.0, alpha=0.3),
]


def learn(implementation, drawn: Drawn, signal: Signal, **more) -> Learned:
    *first, feedback, mean = drawn
    return implementation.learn(*first, signal, feedback, mean, **more)


def parts(learned: Learned) -> list[Tensor]:
    return [
        *learned.gradients.all(),
        learned.reward,
        learned.log_likelihood.float(),
        learned.scores,
        torch.tensor(learned.rates),
    ]


def close(found: Learned, wanted: Learned, share: float = 3e-6) -> None:
    """Within `share` of the largest number of each tensor."""
    for a, b in zip(parts(found), parts(wanted), strict=True):
        largest = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=share * (1 + largest))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: f"{s.signal}-{s.draws}-{s.baseline}")
@pytest.mark.parametrize("kind", EVERY.values(), ids=EVERY.keys())
def test_equals_the_reference(kind, signal: Signal, isa: str) -> None:
    drawn = draw(kind)
    wanted = learn(block, drawn, signal)
    assert all(float(g.abs().max()) > 0 for g in wanted.gradients.all())
    close(learn(native, drawn, signal, isa=isa), wanted)


@pytest.mark.parametrize("kind", EVERY.values(), ids=EVERY.keys())
def test_one_filter_that_outlives_the_window_and_a_single_step(kind) -> None:
    for drawn in (
        draw(kind, filters=1, length=20),
        draw(kind, n_steps=1),
        draw(kind, rate=0.0),
        draw(kind, batch=1),
    ):
        close(learn(native, drawn, SIGNALS[1]), learn(block, drawn, SIGNALS[1]))


def test_potentials_far_out() -> None:
    drawn = draw(EVERY["skip"], scale=40.0)
    drawn.parameters.biases[0].mul_(10)
    for signal in SIGNALS:
        found, wanted = learn(native, drawn, signal), learn(block, drawn, signal)
        assert all(bool(part.isfinite().all()) for part in parts(found))
        close(found, wanted, 1e-5)


def test_one_feedback_matrix_for_all_filters() -> None:
    drawn = draw(EVERY["deep"])
    same = drawn._replace(feedback=[[b[0]] * 3 for b in drawn.feedback])
    equal = drawn._replace(feedback=[[b[0], b[0].clone(), b[0].clone()] for b in drawn.feedback])
    close(learn(native, same, SIGNALS[0]), learn(block, same, SIGNALS[0]))
    close(learn(native, equal, SIGNALS[0]), learn(native, same, SIGNALS[0]))


@pytest.mark.parametrize("kind", EVERY.values(), ids=EVERY.keys())
def test_threads_and_instruction_sets_give_the_same_bits(kind) -> None:
    drawn = draw(kind, batch=21, n_steps=12)
    for signal in (SIGNALS[1], SIGNALS[4]):
        first = learn(native, drawn, signal, isa=ISAS[0])
        for isa in ISAS:
            for threads in (1, 2, 3, 5):
                torch.set_num_threads(threads)
                try:
                    again = learn(native, drawn, signal, isa=isa)
                finally:
                    torch.set_num_threads(1)
                for a, b in zip(parts(again), parts(first), strict=True):
                    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_batch_is_the_sum_of_its_samples() -> None:
    """Draws follow from a sample's key, whatever stands beside it; also where a batch is added up in several parts."""
    drawn = draw(SKIP, batch=40, n_steps=40)
    signal = Signal("scalar", draws=40, baseline="leave-one-out")
    whole = learn(native, drawn, signal)
    each = []
    for b in range(40):
        one = drawn._replace(
            spikes=drawn.spikes._replace(bits=drawn.spikes.bits[b : b + 1]),
            wanted=drawn.wanted[b : b + 1],
            keys=drawn.keys[b : b + 1],
        )
        each.append(learn(native, one, signal))
    for index, total in enumerate(whole.gradients.all()):
        summed = torch.stack([one.gradients.all()[index] for one in each]).sum(0)
        torch.testing.assert_close(total, summed, rtol=1e-4, atol=1e-4 * float(summed.abs().max()))
    torch.testing.assert_close(whole.scores, torch.cat([one.scores for one in each]), rtol=0, atol=0)
    rates = torch.tensor([one.rates for one in each]).mean(0)
    torch.testing.assert_close(torch.tensor(whole.rates), rates)


def test_large_networks_agree_in_the_mean() -> None:
    """Where some of 150,000 draws lie within rounding of a chance, single spikes may differ."""
    kind = [(200, 1), (128, 2), (10, 1)], ((0, 1), (0, 2), (1, 2)), False
    drawn = draw(kind, filters=8, length=10, n_steps=20, batch=30, rate=0.05, scale=0.1)
    for signal in (SIGNALS[0], SIGNALS[4]):
        found, wanted = learn(native, drawn, signal), learn(block, drawn, signal)
        assert found.rates == pytest.approx(wanted.rates, abs=1e-4)
        assert float(found.log_likelihood) == pytest.approx(float(wanted.log_likelihood), rel=1e-3)
        for a, b in zip(found.gradients.all(), wanted.gradients.all(), strict=True):
            assert float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)) > 0.999


def test_what_does_not_fit_is_refused() -> None:
    drawn, signal = draw(SKIP), SIGNALS[0]
    for wrong, words in (
        (drawn._replace(wanted=drawn.wanted + 0.5), "must be 0 or 1"),
        (drawn._replace(wanted=torch.ones_like(drawn.wanted)), "one value or none"),
        (drawn._replace(wanted=drawn.wanted[:2]), "what outputs emit"),
        (drawn._replace(keys=drawn.keys[:2]), "key for each"),
        (drawn._replace(mean=drawn.mean[:2]), "mean must be"),
        (drawn._replace(feedback=[]), "every hidden group"),
        (drawn._replace(feedback=[[b.T for b in drawn.feedback[0]]]), "B must be"),
        (drawn._replace(table=drawn.table[:2]), "weights must be"),
        (drawn._replace(spikes=pack(torch.ones(4, 9, 80))), "words"),
        (drawn._replace(table=drawn.table.double()), "float32"),
    ):
        with pytest.raises(UsageError, match=words):
            learn(native, wrong, signal)
    with pytest.raises(UsageError, match="two draws"):
        learn(native, drawn, replace(SIGNALS[4], draws=1))
    with pytest.raises(UsageError, match="silence"):
        learn(native, drawn, replace(signal, silence=1.0))
