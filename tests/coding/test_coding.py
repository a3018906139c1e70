import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitspike.coding import FirstSpike, Pixel, Population, first_spike_times, time_table
from bitspike.errors import DataError, UsageError

INTENSITIES = np.array([0, 1, 2, 127, 128, 254, 255], np.uint8)


def test_vector_t1_of_the_specification() -> None:
    assert first_spike_times(INTENSITIES, 256).tolist() == [256, 254, 253, 128, 127, 1, 0]
    assert first_spike_times(INTENSITIES, 256, "bs4nn").tolist() == [255, 254, 253, 128, 127, 1, 0]


@given(st.integers(1, 32766), st.integers(0, 255))
def test_table_is_the_floor_of_the_equation(n_steps: int, intensity: int) -> None:
    table = time_table(n_steps)
    assert table.dtype == np.int16
    numerator = (255 - intensity) * n_steps
    assert 255 * int(table[intensity]) <= numerator < 255 * (int(table[intensity]) + 1)
    assert table[0] == n_steps
    assert table[255] == 0


@pytest.mark.parametrize("n_steps", [1, 2, 16, 254, 255, 256, 257, 32766])
def test_encode_looks_the_table_up(n_steps: int) -> None:
    coding = FirstSpike(n_steps)
    images = torch.arange(256, dtype=torch.uint8).reshape(8, 32)
    times = coding.encode(images)
    assert times.dtype == torch.int16
    assert times.shape == (8, 32)
    assert np.array_equal(times.reshape(-1).numpy(), time_table(n_steps))
    assert len(times.unique()) == coding.max_levels
    strided = images.T.reshape(4, 8, 8).flip(1)
    assert np.array_equal(coding.encode(strided).numpy(), time_table(n_steps)[strided.numpy()])


@pytest.mark.parametrize("n_steps", [0, -1, 32767, 2.5, True])
def test_impossible_number_of_steps_is_refused(n_steps: int) -> None:
    with pytest.raises(UsageError, match="1 to 32766"):
        FirstSpike(n_steps)


def test_other_inputs_are_refused() -> None:
    with pytest.raises(UsageError, match="1 to 32766"):
        time_table(0)
    with pytest.raises(UsageError, match="s4nn"):
        first_spike_times(INTENSITIES, 16, "other")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="float64"):
        first_spike_times(INTENSITIES / 255, 16)
    for coding in (FirstSpike(), Pixel()):
        with pytest.raises(DataError, match="float32"):
            coding.encode(torch.zeros(2, 3))
        with pytest.raises(DataError, match="uint8"):
            coding.encode(INTENSITIES)  # type: ignore[arg-type]


def test_pixel_keeps_intensities() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(2, 128)
    values = Pixel().encode(images)
    assert values.dtype == torch.float32
    assert torch.equal(values.to(torch.uint8), images)
    assert Pixel().n_steps == 1


def test_coding_and_data_import_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np;"
        "from bitspike.coding import FirstSpike, Pixel, Population, time_table; import bitspike.data;"
        "print(time_table(16)[255], FirstSpike().n_steps, Population.fit(np.eye(2)).encode(np.eye(2)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "16", "(2,", "24)"], done.stderr


def test_population_follows_its_equation() -> None:
    population = Population((0.0,), (2.0,), units=4)
    x = np.array([[0.0], [0.3], [2.0]])
    centres = np.array([0 + (2 * i - 3) / 2 * 2 / 2 for i in (1, 2, 3, 4)])
    width = 2 / (1.5 * 2)
    expected = np.rint(255 * np.exp(-((x - centres) ** 2) / (2 * width**2)))
    assert np.array_equal(population.encode(x), expected)


def test_population_orders_features_and_saturates() -> None:
    x = np.array([[0.0, 5.0], [1.0, 7.0]])
    population = Population.fit(x, units=5)
    assert (population.low, population.high) == ((0.0, 5.0), (1.0, 7.0))
    coded = population.encode(x)
    assert coded.shape == (2, 10)
    assert coded.dtype == np.uint8
    assert np.array_equal(coded[:, :5], coded[:, 5:])
    assert np.array_equal(population.encode([[-9.0, 100.0]]), population.encode([[0.0, 7.0]]))
    assert (population.encode(np.linspace([0, 5], [1, 7], 50)).reshape(50, 2, 5).max(axis=2) > 180).all()


def test_population_of_a_constant_feature_is_finite() -> None:
    for value in (0.0, 3.0, 1e300):
        population = Population.fit([[value], [value]])
        assert population.encode([[value]]).max() > 180


def test_population_refuses() -> None:
    with pytest.raises(UsageError, match="at least 3"):
        Population((0.0,), (1.0,), units=2)
    with pytest.raises(UsageError, match="one per feature"):
        Population((0.0,), ())
    with pytest.raises(UsageError, match="low < high"):
        Population((1.0,), (1.0,))
    with pytest.raises(DataError, match="row 1"):
        Population.fit([[0.0], [np.nan]])
    with pytest.raises(DataError, match="shape"):
        Population.fit([1.0, 2.0])
    with pytest.raises(DataError, match="not numbers"):
        Population.fit([["a"]])
    with pytest.raises(DataError, match="fitted to 1"):
        Population((0.0,), (1.0,)).encode([[1.0, 2.0]])
