"""What every coding says of itself: what it takes, how it may be disturbed, and the shapes it makes."""

from typing import Any

import numpy as np
import pytest
import torch

from bitspike.coding import Cochlea, Direct, EventBins, FirstSpike, Pixel, Poisson, SpikeList, time_table
from bitspike.coding.poisson import content_keys
from bitspike.errors import DataError, UsageError

STILL = (FirstSpike(), Pixel(), Direct(), Poisson(8), Poisson(8, signed=True))
EVENTS = EventBins(9, 100, False, height=4, width=5)
COLOUR = torch.randint(0, 256, (6, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_what_each_coding_takes_and_how_it_may_be_disturbed() -> None:
    said = {type(c).__name__: (c.of_images, c.takes, c.disturbances) for c in (*STILL, EVENTS, Cochlea())}
    assert said == {
        "FirstSpike": (True, "images", ("jitter", "deletion")),
        "Pixel": (True, "images", ()),
        "Direct": (True, "images", ("noise",)),
        "Poisson": (True, "images", ("deletion",)),
        "EventBins": (False, "events", ("deletion", "jitter")),
        "Cochlea": (False, "sound", ("deletion", "jitter")),
    }


@pytest.mark.parametrize("coding", STILL, ids=repr)
def test_shapes_of_images(coding: Any) -> None:
    signed = getattr(coding, "signed", False)
    n = coding.channels_of(60)
    assert n == (120 if signed else 60)
    shapes = [(4, 5), (1, 20), (4, 5, 3), (20,), ()]
    seen = [coding.map_shape(shape, n) for shape in shapes]
    assert seen == ([(n,)] * 5 if signed else [(4, 5, 1), (1, 20, 1), (4, 5, 3), (n,), (n,)])
    assert [coding.input_shape(shape) for shape in shapes] == shapes
    if not signed:
        with pytest.raises(UsageError, match=r"\(2, 4, 5, 3\) are not images; give \(height, width\)"):
            coding.map_shape((2, 4, 5, 3), 120)


def test_shapes_of_recordings() -> None:
    assert EVENTS.map_shape((2, 4, 5), 40) == (4, 5, 2)
    assert EVENTS.map_shape((), 40) == (40,)
    for shape in ((4, 5), (1, 2, 4, 5)):
        with pytest.raises(UsageError, match=r"not events; give \(polarities, height, width\)"):
            EVENTS.map_shape(shape, 40)
    assert EVENTS.input_shape((2, 4, 5)) == EVENTS.input_shape(()) == (2, 4, 5)
    ear = Cochlea()
    assert ear.map_shape((), 78) == ear.map_shape((78,), 78) == (78,)
    assert ear.input_shape(()) == (78,)
    with pytest.raises(UsageError, match="not sound"):
        ear.map_shape((4, 5), 20)


def test_the_two_sides_of_a_signed_pixel() -> None:
    """v = 2 I / 255 - 1: what is above the middle drives the first channel, what is below it the second."""
    some = [0, 51, 204, 255]
    limits = Poisson(8, rate=0.5, signed=True).limits()
    assert limits[:, some].tolist() == [[0, 0, 19661, 32768], [32768, 19661, 0, 0]]
    assert (limits.min(axis=0) == 0).all()
    assert Poisson(8, rate=0.5).limits()[:, some].tolist() == [[0, 6554, 26214, 32768]]


@pytest.mark.parametrize(
    ("steps", "channels", "offsets", "complaint"),
    [
        ([0, 4], [0, 3], [0, 1, 2], None),
        ([0, 5], [0, 3], [0, 1, 2], r"a step lies outside 0\.\.4"),
        ([-1, 4], [0, 3], [0, 1, 2], r"a step lies outside 0\.\.4"),
        ([0, 4], [0, 4], [0, 1, 2], r"a channel lies outside 0\.\.3"),
        ([0, 4], [-1, 3], [0, 1, 2], r"a channel lies outside 0\.\.3"),
        ([0, 4], [0], [0, 1, 2], "2 steps but 1 channels"),
        ([0, 4], [0, 3], [0, 2, 1], "offsets must rise"),
        ([0, 4], [0, 3], [1, 2], "offsets must rise"),
        ([0, 4], [0, 3], [0, 1], "offsets must rise"),
        ([], [], [], "offsets must rise"),
    ],
)
def test_a_spike_lies_in_its_window(
    steps: list[int], channels: list[int], offsets: list[int], complaint: str | None
) -> None:
    parts = np.array(steps, np.int16), np.array(channels, np.int32), np.array(offsets, np.int64)
    if complaint is None:
        assert SpikeList(*parts, 5, 4).dense().sum(axis=(1, 2)).tolist() == [1, 1]
        return
    with pytest.raises(DataError, match=complaint):
        SpikeList(*parts, 5, 4)


@pytest.mark.parametrize("coding", STILL, ids=repr)
def test_images_are_coded_intensity_by_intensity(coding: Any) -> None:
    """Pixel (y * width + x) * channels + c of a row is channel c at (x, y), whatever shape is encoded."""
    coded = coding.encode(COLOUR)
    assert coded.shape == COLOUR.shape
    rows = coding.encode(COLOUR.flatten(1))
    assert torch.equal(coded.flatten(1), rows)
    for y, x, c in ((0, 0, 0), (2, 3, 1), (3, 4, 2)):
        assert torch.equal(rows[:, (y * 5 + x) * 3 + c], coded[:, y, x, c])


@pytest.mark.parametrize("coding", STILL, ids=repr)
def test_images_are_coded_on_their_device(coding: Any) -> None:
    coded = coding.encode(COLOUR.to("meta"))
    assert (coded.device.type, coded.shape, coded.dtype) == (
        "meta",
        COLOUR.shape,
        coding.encode(COLOUR).dtype,
    )


@pytest.mark.gpu
@pytest.mark.parametrize("coding", STILL, ids=repr)
def test_gpu_codes_alike(coding: Any) -> None:
    coded = coding.encode(COLOUR.cuda())
    assert coded.device.type == "cuda"
    assert torch.equal(coded.cpu(), coding.encode(COLOUR))


def test_first_spikes_of_colours() -> None:
    assert np.array_equal(FirstSpike(40).encode(COLOUR).numpy(), time_table(40)[COLOUR.numpy()])


@pytest.mark.parametrize("signed", [False, True])
def test_poisson_reads_images_as_rows(signed: bool) -> None:
    coding, images = Poisson(11, 0.7, signed), COLOUR.numpy()
    rows = images.reshape(6, 60)
    assert np.array_equal(content_keys(images), content_keys(rows))
    trains = coding.trains(images)
    assert trains.shape == (6, 11, coding.channels_of(60))
    assert np.array_equal(trains, coding.trains(rows))
    keys = np.arange(6, dtype=np.uint64)
    assert np.array_equal(coding.spikes(images, keys), coding.spikes(rows, keys))
    dark = np.zeros_like(images)
    dark[:, 2, 3, 1] = 255  # signed: all other pixels fire on the second side
    drawn = Poisson(11, 1.0, signed).trains(dark)[:, 1:]
    assert np.array_equal(np.flatnonzero(drawn[:, :, :60].any((0, 1))), [(2 * 5 + 3) * 3 + 1])
