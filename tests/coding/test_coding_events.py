import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import EventBins, event_bins
from bitspike.data import load
from bitspike.data.recordings import EVENT, Events
from bitspike.errors import DataError, UsageError


def make(*recordings: list[tuple[int, int, int, int]], sensor: tuple[int, int] = (34, 34)) -> Events:
    """Events given as (t, x, y, p)."""
    return Events.join([np.array(recording, EVENT) for recording in recordings], sensor)


def naive(coding: EventBins, recording: np.ndarray) -> set[tuple[int, int]]:
    """Section 4 of the specification, event by event, with the addresses counted from 1."""
    spikes = set()
    for event in recording:
        t, x, y = int(event["t"]), Fraction(int(event["x"]) + 1), Fraction(int(event["y"]) + 1)
        ms = Fraction(t, 1000)
        if coding.stabilise and ms <= 105:
            x -= Fraction(7, 2) * ms / 105
            y -= 7 * ms / 105
        elif coding.stabilise and ms <= 210:
            x -= Fraction(7, 2) + Fraction(7, 2) * (ms - 105) / 105
            y -= 7 - 7 * (ms - 105) / 105
        elif coding.stabilise:
            x -= 7 - 7 * (ms - 210) / 105
        column, row = math.floor(x + Fraction(1, 2)), math.floor(y + Fraction(1, 2))
        step = math.ceil(Fraction(t, coding.bin_us)) + 1
        if 1 <= column <= coding.width and 1 <= row <= coding.height and step <= coding.n_steps - 1:
            spikes.add((step, ((row - 1) * coding.width + column - 1) * 2 + int(event["p"])))
    return spikes


def assert_as_specified(coding: EventBins, events: Events) -> None:
    spikes = coding.encode(events)
    assert (spikes.n_steps, spikes.n_channels) == (coding.n_steps, coding.n_channels)
    assert (spikes.steps.dtype, spikes.channels.dtype) == (np.int16, np.int32)
    assert len(spikes) == len(events)
    for k in range(len(events)):
        there = slice(spikes.offsets[k], spikes.offsets[k + 1])
        found = list(zip(spikes.steps[there].tolist(), spikes.channels[there].tolist(), strict=True))
        assert found == sorted(naive(coding, events.values[events.offsets[k] : events.offsets[k + 1]]))


times = st.integers(0, 400_000) | st.sampled_from([0, 1, 599, 600, 601, 105_000, 105_001, 210_000, 210_001])


@settings(max_examples=100)
@given(
    recordings=st.lists(
        st.lists(st.tuples(times, st.integers(0, 33), st.integers(0, 33), st.integers(0, 1)), max_size=30),
        max_size=4,
    ),
    coding=st.builds(EventBins, st.integers(2, 700), st.integers(1, 5000), st.booleans()),
    chunk=st.sampled_from([1, 7, 1 << 18]),
)
def test_equals_the_specification(
    recordings: list[list[tuple[int, int, int, int]]], coding: EventBins, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_bins, "CHUNK", chunk)
        assert_as_specified(coding, make(*map(sorted, recordings)))


def test_steps_channels_and_repetitions_by_hand() -> None:
    coding = EventBins(n_steps=5, bin_us=10, stabilise=False, height=3, width=4)
    events = make(
        [(0, 0, 0, 0), (1, 1, 0, 1), (10, 1, 0, 1), (11, 1, 0, 1), (30, 3, 2, 1), (31, 3, 2, 1)],
        [],
        [(20, 2, 1, 0)],
        sensor=(3, 4),
    )
    spikes = coding.encode(events)
    assert spikes.n_channels == 24
    assert spikes.offsets.tolist() == [0, 4, 4, 5]
    assert spikes.steps.tolist() == [1, 2, 3, 4, 3]
    assert spikes.channels.tolist() == [0, 3, 3, 23, (1 * 4 + 2) * 2]


def test_stabilisation_by_hand() -> None:
    coding = EventBins(n_steps=30_000, bin_us=15_000)
    moved = [
        (105_000, 10, 20, 1, 7, 13),  # by 3.5 and 7: halves go up
        (210_000, 10, 20, 1, 3, 20),
        (315_000, 10, 20, 1, 10, 20),
        (52_500, 10, 20, 0, 8, 17),  # by 1.75 and 3.5
        (157_500, 10, 20, 0, 5, 17),  # by 5.25 and 3.5
        (210_001, 10, 20, 0, 3, 20),
    ]
    for t, x, y, p, column, row in moved:
        spikes = coding.encode(make([(t, x, y, p)]))
        assert spikes.channels.tolist() == [(row * 34 + column) * 2 + p]
    assert len(coding.encode(make([(105_000, 33, 6, 1), (210_000, 6, 0, 1)])).steps) == 0  # left the map


def test_late_and_huge_times_do_not_come_back() -> None:
    events = make([(5, 1, 1, 1), (2**23 - 1, 1, 1, 1), (2**31 - 1, 33, 33, 1)])
    for coding in (EventBins(), EventBins(bin_us=1), EventBins(32_767, 10**9), EventBins(32_767, 1000)):
        assert_as_specified(coding, events)


def test_large_maps_need_keys_of_64_bits() -> None:
    coding = EventBins(n_steps=32_767, bin_us=10, stabilise=False, height=480, width=640)
    assert_as_specified(
        coding, make([(5, 639, 479, 1), (320_000, 639, 479, 1)], [(7, 3, 4, 0)], sensor=(480, 640))
    )


def test_no_recordings() -> None:
    assert len(EventBins().encode(make())) == 0


def test_refuses() -> None:
    with pytest.raises(DataError, match="34 x 34 pixels; the coding has 3 x 34"):
        EventBins(height=3).encode(make([(0, 0, 0, 0)]))
    for name in ("bin_us", "height", "width"):
        for value in (0, -1, 1.5, True, 10**10):
            with pytest.raises(UsageError, match=f"coding.{name}"):
                EventBins(**{name: value})
    with pytest.raises(UsageError, match="n_steps"):
        EventBins(n_steps=1)
    with pytest.raises(UsageError, match="too many channels"):
        EventBins(height=32_768, width=32_768)


def test_real_recordings(data_dir: Path) -> None:
    events = load("nmnist-1100", data_dir, download=False).test_inputs[:3]
    for coding in (EventBins(), EventBins(n_steps=108, bin_us=3000), EventBins(stabilise=False)):
        assert_as_specified(coding, events)

    def spread(stabilise: bool) -> float:  # of a recording's map: without the saccades it is sharper
        counts = np.zeros(34 * 34 * 2)
        np.add.at(counts, EventBins(stabilise=stabilise).encode(events[:1]).channels, 1)
        return float((counts**2).sum())

    assert spread(True) > 1.2 * spread(False)
