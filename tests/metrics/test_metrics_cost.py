import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitspike.coding import SpikeList
from bitspike.errors import DataError, UsageError
from bitspike.metrics import (
    Work,
    add_noise,
    delete,
    delete_trains,
    deletion_curve,
    energy_table,
    energy_uj,
    footprint,
    jitter,
    jitter_curve,
    jitter_trains,
    model_bytes,
)
from bitspike.metrics.energy import n_synapses
from bitspike.prediction import Prediction


def test_energy_of_one_operation_by_hand():
    assert energy_uj(Work(1e6), "binary") == pytest.approx(0.05 + 5 / 32)
    assert energy_uj(Work(1e6), "real") == pytest.approx(0.9 + 5)
    assert energy_uj(Work(1e6, input_macs=1e6), "real") == pytest.approx(3.7 + 0.9 + 5)
    assert energy_uj(Work(1e6, input_macs=1e6), "binary") == pytest.approx(0.1 + 5 / 32)
    assert energy_uj(Work(0, neuron_updates=1e6), "binary") == pytest.approx(3 * 3.7 + 3 * 0.9)
    assert energy_uj(Work(0, srm_updates=1e6), "binary") == pytest.approx(4 * 3.7 + 6 * 0.9)


def test_energy_table_names_every_constant_it_uses():
    table = energy_table(Work(90_000), "binary", n_synapses((784, 600, 10)))
    assert [row["energy_uj"] for row in table["rows"]] == pytest.approx(
        [0.0185625, 2.124, 476_400 * 9.6e-6, 476_400 * 1.55e-6]
    )
    named = {constant["name"] for constant in table["constants"]}
    for row in table["rows"]:
        assert any(name in row["parts"] for name in named)
    assert all(constant["source"] and constant["year"] >= 2014 for constant in table["constants"])
    assert "estimate" in table["note"].lower()


def test_energy_table_of_spike_trains_adds_its_parts_up():
    work = Work(15_000, input_macs=5_000, neuron_updates=8_000)
    rows = energy_table(work, "real", 60_000)["rows"]
    parts, total = rows[:3], rows[3]
    assert [row["operations"] for row in parts] == [10_000, 5_000, 8_000]
    assert sum(row["energy_uj"] for row in parts) == pytest.approx(total["energy_uj"])
    assert total["energy_uj"] == pytest.approx(energy_uj(work, "real"))
    assert rows[4]["operations"] == 10_000  # Loihi multiplies nothing
    assert "3 x float32 multiply" in parts[2]["parts"]


@pytest.mark.parametrize(
    ("work", "weights", "words"),
    [
        (
            Work(9.0),
            "binary",
            "Comparisons with thresholds are left out: at most one per synaptic operation, 0.05 pJ",
        ),
        (
            Work(9.0, input_macs=3.0),
            "real",
            "Comparisons with thresholds are left out: at most one .*, 0.9 pJ",
        ),
        (Work(9.0, srm_updates=3.0), "binary", "The softmax of every step is left out"),
        (Work(9.0, neuron_updates=3.0), "real", "arithmetic and weight reads only.$"),
    ],
)
def test_energy_table_names_what_it_leaves_out(work, weights, words):
    assert re.search(words, energy_table(work, weights)["note"])


def test_energy_table_without_a_shape_leaves_the_dense_network_out():
    assert len(energy_table(Work(90_000), "real")["rows"]) == 2
    with pytest.raises(UsageError, match="widths"):
        n_synapses((784,))


def test_footprint_in_true_bits():
    binary, real = footprint((784, 600, 10)), footprint((784, 600, 10), "real")
    assert (binary.synapses, binary.synapse_bits, real.synapse_bits) == (476_400, 476_400, 15_244_800)
    assert (binary.thresholds, binary.threshold_bits) == (610, 610 * 32)
    assert binary.bytes == 59_550 + 2440
    assert footprint((3, 1), bits_per_threshold=0).bytes == 1


def test_model_bytes_is_the_size_of_the_file(tmp_path):
    path = tmp_path / "model.bitspike"
    with pytest.raises(DataError, match="pack the model first"):
        model_bytes(path)
    path.write_bytes(b"x" * 123)
    assert model_bytes(path) == 123


@given(strength=st.integers(0, 40), seed=st.integers(0, 1000), n_steps=st.integers(1, 40))
def test_jitter_stays_in_range_and_keeps_silence(strength, seed, n_steps):
    generator = torch.Generator().manual_seed(seed)
    times = torch.randint(0, n_steps + 1, (4, 9), generator=generator).to(torch.int16)
    before = times.clone()
    moved = jitter(times, strength, n_steps, generator)
    assert moved.dtype == torch.int16
    assert torch.equal(times, before)
    assert torch.equal(moved == n_steps, times == n_steps)
    assert int(moved.min()) >= 0
    assert int(((moved - times).abs()).max()) <= strength


def test_jitter_reaches_every_shift_equally():
    times = torch.full((1, 70_000), 50, dtype=torch.int16)
    moved = jitter(times, 3, 256, torch.Generator().manual_seed(1))
    counts = torch.bincount(moved.flatten().long() - 47, minlength=7)
    assert counts.numel() == 7
    assert int((counts - 10_000).abs().max()) < 500


def test_deletion_loses_the_given_share():
    times = torch.zeros((1, 100_000), dtype=torch.int16)
    generator = torch.Generator().manual_seed(1)
    assert float((delete(times, 0.3, 8, generator) == 8).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert bool((delete(times, 1.0, 8, generator) == 8).all())
    assert torch.equal(delete(times, 0.0, 8, generator), times)


def spike_list(seed: int, share: float = 0.3) -> SpikeList:
    """Five recordings, the third without a spike, 20 steps of 7 channels; nothing in step 0."""
    dense = np.random.default_rng(seed).random((5, 20, 7)) < share
    dense[2] = False
    dense[:, 0] = False
    row, step, channel = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=5))])
    return SpikeList(step.astype(np.int16), channel.astype(np.int32), offsets, 20, 7)


@given(strength=st.integers(0, 30), seed=st.integers(0, 200))
def test_jittered_trains_stay_in_the_window_and_near_where_they_were(strength, seed):
    spikes = spike_list(seed)
    moved = jitter_trains(spikes, strength, torch.Generator().manual_seed(seed)).dense()
    before = spikes.dense()
    if strength == 0:
        assert np.array_equal(moved, before)
    assert not moved[:, 0].any()
    assert (moved.sum(1) <= before.sum(1)).all()  # spikes of one channel may meet
    assert np.array_equal(moved.any(1), before.any(1))
    near = np.stack([before[:, max(0, t - strength) : t + strength + 1].any(1) for t in range(20)], axis=1)
    assert not (moved & ~near).any()


def test_deleted_trains_are_a_subset_of_the_given_share():
    generator, spikes = torch.Generator().manual_seed(1), spike_list(1)
    assert not (delete_trains(spikes, 0.4, generator).dense() & ~spikes.dense()).any()
    assert np.array_equal(delete_trains(spikes, 0.0, generator).dense(), spikes.dense())
    assert len(delete_trains(spikes, 1.0, generator).steps) == 0
    many = SpikeList(
        np.arange(1, 20_001, dtype=np.int16), np.zeros(20_000, np.int32), np.array([0, 20_000]), 20_001, 1
    )
    assert len(delete_trains(many, 0.3, generator).steps) == pytest.approx(14_000, abs=300)


def test_noise_on_pixels_has_its_strength_and_stays_uint8():
    images, generator = torch.full((100, 100), 128, dtype=torch.uint8), torch.Generator().manual_seed(1)
    noisy = add_noise(images, 0.1, generator)
    assert noisy.dtype == torch.uint8
    assert float(noisy.float().std()) == pytest.approx(25.5, abs=1)
    assert torch.equal(add_noise(images, 0.0, generator), images)
    assert set(add_noise(images, 50.0, generator).unique().tolist()) >= {0, 255}


def test_disturbances_refuse_nonsense():
    times, generator = torch.zeros((1, 1), dtype=torch.int16), torch.Generator()
    with pytest.raises(UsageError, match="negative"):
        jitter(times, -1, 8, generator)
    with pytest.raises(UsageError, match="probability"):
        delete(times, 1.5, 8, generator)
    with pytest.raises(UsageError, match="negative"):
        jitter_trains(spike_list(1), -1, generator)
    with pytest.raises(UsageError, match="probability"):
        delete_trains(spike_list(1), -0.5, generator)
    with pytest.raises(UsageError, match="negative"):
        add_noise(times, -1, generator)


def earliest_input(times: torch.Tensor) -> Prediction:
    """A network whose decision is the input that spikes first."""
    labels = times.argmin(dim=1)
    scores = torch.zeros(times.shape)
    return Prediction(
        labels, scores, labels, labels < 0, scores > 0, scores, n_spikes=labels, n_synops=labels
    )


def test_curves_fall_and_repeat_with_the_generator():
    labels = torch.arange(300) % 3
    times = torch.full((300, 3), 40, dtype=torch.int16)
    times[torch.arange(300), labels] = 20

    def curves(seed: int):
        generator = torch.Generator().manual_seed(seed)
        return (
            jitter_curve(earliest_input, times, labels, 64, [0, 9, 60], generator),
            deletion_curve(earliest_input, times, labels, 64, [0.0, 0.5, 1.0], generator),
        )

    by_jitter, by_deletion = curves(1)
    assert [strength for strength, _ in by_jitter] == [0, 9, 60]
    assert by_jitter[0][1] == by_jitter[1][1] == 1.0  # 20 + 9 < 40 - 9
    assert by_jitter[2][1] < 0.9
    assert by_deletion[0] == (0.0, 1.0)
    assert by_deletion[2] == (1.0, pytest.approx(1 / 3))
    assert curves(1) == (by_jitter, by_deletion)
