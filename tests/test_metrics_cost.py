import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitspike.contracts import Prediction
from bitspike.errors import DataError, UsageError
from bitspike.metrics import (
    delete,
    deletion_curve,
    energy_table,
    energy_uj,
    footprint,
    jitter,
    jitter_curve,
    model_bytes,
)


def test_energy_of_one_synop_by_hand():
    assert energy_uj(1e6, "binary") == pytest.approx(0.05 + 5 / 32)
    assert energy_uj(1e6, "real") == pytest.approx(0.9 + 5)


def test_energy_table_names_every_constant_it_uses():
    table = energy_table(90_000, "binary", (784, 600, 10))
    assert [row["energy_uj"] for row in table["rows"]] == pytest.approx(
        [0.0185625, 2.124, 476_400 * 9.6e-6, 476_400 * 1.55e-6]
    )
    named = {constant["name"] for constant in table["constants"]}
    for row in table["rows"]:
        assert any(name in row["parts"] for name in named)
    assert all(constant["source"] and constant["year"] >= 2014 for constant in table["constants"])
    assert "estimate" in table["note"].lower()


def test_energy_table_without_a_shape_leaves_the_dense_network_out():
    assert len(energy_table(90_000, "real")["rows"]) == 2
    with pytest.raises(UsageError, match="widths"):
        energy_table(1, "binary", (784,))


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


def test_disturbances_refuse_nonsense():
    times, generator = torch.zeros((1, 1), dtype=torch.int16), torch.Generator()
    with pytest.raises(UsageError, match="negative"):
        jitter(times, -1, 8, generator)
    with pytest.raises(UsageError, match="probability"):
        delete(times, 1.5, 8, generator)


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
