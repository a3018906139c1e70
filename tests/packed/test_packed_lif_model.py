"""From a trained LIF network to a file that decides, and recordings through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bitspike
from bitspike.cli import main
from bitspike.coding import Cochlea, Direct, EventBins, Poisson
from bitspike.data.events import encode_nmnist
from bitspike.data.recordings import EVENT, Audio, Events
from bitspike.deploy.pack import pack, save, snapped, verify
from bitspike.errors import DataError
from bitspike.networks.lif import LIFNetwork
from bitspike.recipes.hm2bp import hm2bp_digits
from bitspike.settings import LIF, Weights
from bitspike.training import train
from packed_nets import assert_equal

SMALL = LIF(("21",), (2.0, 1.5), tau_m=16.0, tau_s=4.0, refractory=1, lateral=0.5)
MAPS = LIF(("5C3p1", "P2", "11"), (1.5, 0.6, 2.0, 1.5), tau_m=16.0, tau_s=4.0)
BINARY = Weights("binary")
REAL = Weights("real", hidden=(-0.7, 0.9), output=(-0.7, 0.9), clip=None)


class Named:
    """All that `pack` reads of an experiment."""

    name = "a recipe"


def trained(coding: Any, network: LIF, weights: Weights, shape: tuple[int, ...]) -> LIFNetwork:
    model = LIFNetwork(shape, 4, coding, network, weights, torch.Generator().manual_seed(3))
    model.temperature.fill_(2.5)
    return model


def plain(model: LIFNetwork) -> Any:
    """Decides as the network does, on the grid on which it ships, in plain torch."""
    exact = snapped(model)
    exact.backend = "reference"
    return lambda x: exact.decide(
        torch.from_numpy(x) if isinstance(x, np.ndarray) else exact.coding.encode(x)
    )


def decided_plainly(model: LIFNetwork) -> Any:
    """The same as decisions."""
    predict = plain(model)
    return lambda x: predict(x).decisions()


@pytest.mark.parametrize(
    ("coding", "network", "shape"),
    [
        (Direct(20, 0.9), SMALL, (30,)),
        (Direct(20, 0.9), MAPS, (6, 5, 1)),
        (Poisson(40, 0.4), SMALL, (30,)),
        (Poisson(40, 0.4), MAPS, (6, 5, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("weights", [BINARY, REAL], ids=["binary", "real"])
def test_a_packed_network_decides_as_the_trained_one(
    coding: Any, network: LIF, shape: tuple[int, ...], weights: Weights
) -> None:
    model = trained(coding, network, weights, shape)
    packed = pack(model, Named(), "abcd", (6, 5))  # type: ignore[arg-type]
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 5)).astype(np.uint8)
    images[0] = 0
    assert verify(packed, decided_plainly(model), images) is None
    decided = packed.decide(images)
    assert len(set(decided.labels.tolist())) > 1
    probabilities = plain(model)(images.reshape(20, -1)).probabilities.numpy()
    np.testing.assert_allclose(packed.predict_proba(images), probabilities, rtol=1e-5)
    with torch.no_grad():
        model.latents[0].neg_()
    fault = verify(packed, decided_plainly(model), images)
    assert fault is not None
    assert fault.startswith("sample ")


def test_recordings_are_coded_as_the_file_says() -> None:
    rng = np.random.default_rng(2)
    events = np.zeros(200, EVENT)
    events["t"] = np.sort(rng.integers(0, 15_000, 200))
    events["x"], events["y"], events["p"] = (
        rng.integers(0, 4, 200),
        rng.integers(0, 3, 200),
        rng.random(200) < 0.5,
    )
    sound = Audio.join([rng.normal(0, 3000, 4000).astype(np.int16), np.zeros(500, np.int16)], 8000)
    recordings: list[tuple[Any, Any]] = [
        (EventBins(30, 500, stabilise=False, height=3, width=4), Events.join([events], (3, 4))),
        (Cochlea(60, rate=8000), sound),
    ]
    for coding, raw in recordings:
        model = trained(coding, SMALL, BINARY, (coding.n_channels,))
        packed = pack(model, Named(), "abcd", ())  # type: ignore[arg-type]
        assert verify(packed, decided_plainly(model), raw) is None
        assert packed.decide(raw).n_spikes[0] > 0
        assert_equal(packed.decide(coding.encode(raw)), packed.decide(raw))
        other = recordings[0][1] if raw is sound else sound
        for wrong in (other, np.zeros((2, 30), np.uint8)):
            with pytest.raises(DataError, match="needs"):
                packed.decide(wrong)
    first = pack(trained(recordings[0][0], SMALL, BINARY, (24,)), Named(), "abcd", ())  # type: ignore[arg-type]
    assert_equal(first.decide(events), first.decide(recordings[0][1]))


def test_predict_reads_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    coding = EventBins(30, 5000)
    model = trained(coding, SMALL, BINARY, (coding.n_channels,))
    packed = pack(model, Named(), "abcd", ())  # type: ignore[arg-type]
    save(packed, tmp_path / "events.bitspike")
    events = np.zeros(300, EVENT)
    events["t"] = np.sort(rng.integers(0, 140_000, 300))
    events["x"], events["y"] = rng.integers(0, 34, 300), rng.integers(0, 34, 300)
    (tmp_path / "00001.bin").write_bytes(encode_nmnist(events))
    main(["predict", str(tmp_path / "events.bitspike"), str(tmp_path / "00001.bin"), "--json"])
    (row,) = json.loads(capsys.readouterr().out)["predictions"]
    assert row["label"] == "abcd"[int(bitspike.load(tmp_path / "events.bitspike").predict(events)[0])]
    assert main(["predict", str(tmp_path / "events.bitspike"), str(tmp_path / "none.bin")]) == 2
    assert "none.bin: cannot be read" in capsys.readouterr().err


def test_pack_eval_and_predict_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    short = replace(hm2bp_digits.training, epochs=1)
    network = replace(hm2bp_digits.network, hidden=("9",), thresholds=(2.0, 2.0))
    trained_run = train(replace(hm2bp_digits, network=network, training=short), run).evaluation
    assert main(["pack", str(run)]) == 0
    assert f"{(run / 'model.bitspike').stat().st_size:,} bytes" in capsys.readouterr().out
    main(["eval", str(run), "--verify", "--json"])
    checked = json.loads(capsys.readouterr().out)
    assert checked["verified"]
    assert checked["accuracy"] == trained_run["accuracy"]
    assert checked["model_bytes"] == (run / "model.bitspike").stat().st_size
    main(["eval", str(run), "--reference", "--json"])
    plainly = json.loads(capsys.readouterr().out)
    for name in ("accuracy", "spikes", "synops", "silent", "decision_time"):
        assert plainly[name] == checked[name]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.uint8))
    main(["predict", str(run / "model.bitspike"), str(tmp_path / "x.npy"), "--json"])
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 3
