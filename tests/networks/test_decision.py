"""Decisions of first spikes from potentials over time, by hand."""

from __future__ import annotations

import torch

from bitspike.networks.decision import Readout, decide


def test_an_output_at_its_threshold_does_not_fire() -> None:
    """Sample 0 has a margin of 0 in its first slot and of 0.5 in its second one, sample 1 none above 0."""
    spikes = torch.tensor([[3, 5], [2, 4]])
    readout = Readout(
        margins=torch.tensor([[[0.0, -1.0], [0.0, 0.5]], [[-1.0, 0.0], [-2.0, 0.0]]]),
        n_active=torch.tensor([2, 2], dtype=torch.int32),
        bins=torch.tensor([[1, 4], [0, 7]], dtype=torch.int16),
        spikes=spikes,
        synops=10 * spikes,
    )
    p = decide(readout, 8, 1.0)
    assert p.labels.tolist() == [1, 1]
    assert p.decision_time.tolist() == [4, 8]
    assert p.silent.tolist() == [False, True]
    assert p.tied.tolist() == [[False, True], [False, False]]
    assert (p.n_spikes.tolist(), p.n_synops.tolist()) == ([5, 4], [50, 40])
    assert decide(readout, 8, 1.0, shift=0.5).silent.tolist() == [True, True]
    earlier = decide(readout, 8, 1.0, shift=-0.25)
    assert earlier.decision_time.tolist() == [1, 0]
    assert earlier.potentials.tolist() == [[0.25, -0.75], [-0.75, 0.25]]
