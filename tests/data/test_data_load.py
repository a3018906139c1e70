import functools
import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitspike import data
from bitspike.data import files
from bitspike.data.catalog import CATALOG, Entry, File
from bitspike.data.dataset import Dataset
from bitspike.data.digits import digits
from bitspike.data.idx import idx_sha256
from bitspike.errors import DataError, UsageError

TRAIN_IMAGES = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
TRAIN_LABELS = np.array([0, 1, 1, 0], np.uint8)
ARRAYS = (TRAIN_IMAGES, TRAIN_LABELS, TRAIN_IMAGES[:2] + 100, TRAIN_LABELS[:2])
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def make_entry(mirrors: tuple[str, ...] = (), transposed: bool = False) -> Entry:
    known = tuple(
        File(name, 4 + 4 * array.ndim + array.nbytes, idx_sha256(array))
        for name, array in zip(NAMES, ARRAYS, strict=True)
    )
    return Entry(
        "tiny", "a test", "tiny-folder", known, ("a", "b"), "none", "nowhere", mirrors, "", transposed
    )


def write_all(folder: Path, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, ARRAYS, strict=True):
        data.write_idx(folder / f"{name}{suffix}", array)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    monkeypatch.setitem(CATALOG, "tiny", make_entry())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder it serves."""
    root = tmp_path / "www"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(root))
    ) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/", root
        finally:
            web.shutdown()
            thread.join()


def assert_tiny(dataset: Dataset) -> None:
    assert np.array_equal(dataset.train_inputs, TRAIN_IMAGES)
    assert dataset.train_labels.tolist() == [0, 1, 1, 0]
    assert dataset.train_labels.dtype == np.int64
    assert np.array_equal(dataset.test_inputs, TRAIN_IMAGES[:2] + 100)
    assert dataset.test_labels.tolist() == [0, 1]
    assert dataset.hashes == {name: idx_sha256(array) for name, array in zip(NAMES, ARRAYS, strict=True)}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inner", ["tiny-folder", ""])
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_found_in_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, inner: str, suffix: str
) -> None:
    write_all(tmp_path / "mine" / inner, suffix)
    if by == "environment":
        monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path / "mine"))
    dataset = data.load("tiny", data_dir=tmp_path / "mine" if by == "argument" else None)
    assert_tiny(dataset)
    assert dataset.classes == ("a", "b")
    assert (dataset.shape, dataset.n_classes) == ((2, 3), 2)


def test_argument_goes_before_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path / "argument" / "tiny-folder")
    write_all(tmp_path / "environment" / "tiny-folder")
    monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path / "environment"))
    paths = data.get("tiny", tmp_path / "argument").values()
    assert {path.parent for path in paths} == {tmp_path / "argument" / "tiny-folder"}
    (tmp_path / "argument" / "tiny-folder" / f"{NAMES[0]}.gz").unlink()
    assert data.get("tiny", tmp_path / "argument")[NAMES[0]].parent.parent == tmp_path / "environment"


def test_absent_and_offline_names_file_folder_and_source(tmp_path: Path) -> None:
    CATALOG["tiny"] = make_entry(mirrors=("http://127.0.0.1:9/",))
    with pytest.raises(DataError) as caught:
        data.load("tiny", data_dir=tmp_path)
    message = str(caught.value)
    assert NAMES[0] in message
    assert f"Put it into {tmp_path / 'tiny-folder'}" in message
    assert f"http://127.0.0.1:9/{NAMES[0]}.gz" in message
    assert "Downloading failed" in message
    with pytest.raises(DataError, match="BITSPIKE_DATA=FOLDER") as caught:
        data.load("tiny", download=False)
    assert "failed" not in str(caught.value)
    with pytest.raises(DataError, match="no folder"):
        data.load("tiny", data_dir=tmp_path / "absent")


def test_download_tries_mirrors_in_turn_and_believes_only_the_hash(server: tuple[str, Path]) -> None:
    url, root = server
    for name in NAMES:
        (root / "wrong").mkdir(exist_ok=True)
        (root / "long").mkdir(exist_ok=True)
        data.write_idx(root / "wrong" / f"{name}.gz", TRAIN_IMAGES + 1)
        (root / "long" / f"{name}.gz").write_bytes(bytes(1 << 20))
    write_all(root / "good")
    mirrors = tuple(f"{url}{part}/" for part in ("absent", "wrong", "long", "good"))
    CATALOG["tiny"] = make_entry(mirrors)
    assert_tiny(data.load("tiny"))
    folder = files.cache() / "tiny-folder"
    assert sorted(os.listdir(folder)) == sorted(f"{name}.gz" for name in NAMES)
    assert all(check.ok for check in data.verify("tiny"))
    CATALOG["tiny"] = make_entry()
    assert_tiny(data.load("tiny"))  # from the cache


def test_download_with_no_good_mirror_leaves_nothing(server: tuple[str, Path]) -> None:
    url, root = server
    write_all(root / "bad")
    data.write_idx(root / "bad" / f"{NAMES[0]}.gz", TRAIN_IMAGES + 1)
    CATALOG["tiny"] = make_entry((f"{url}bad/", f"{url}absent/"))
    with pytest.raises(DataError, match="404") as caught:
        data.load("tiny")
    assert "not that of tiny" in str(caught.value)
    assert os.listdir(files.cache() / "tiny-folder") == []


def test_wrong_content_is_refused_and_verify_says_which(tmp_path: Path) -> None:
    folder = write_all(tmp_path / "tiny-folder")
    data.write_idx(folder / f"{NAMES[1]}.gz", 1 - TRAIN_LABELS)
    data.write_idx(folder / f"{NAMES[2]}.gz", TRAIN_IMAGES)
    with pytest.raises(DataError, match="not that of tiny"):
        data.load("tiny", tmp_path)
    (folder / f"{NAMES[3]}.gz").unlink()
    checks = data.verify("tiny", tmp_path)
    assert [check.ok for check in checks] == [True, False, False, False]
    assert [check.path is None for check in checks] == [False, False, False, True]
    assert "40 bytes of content" in checks[2].message


def test_transposed_images_become_upright(tmp_path: Path) -> None:
    CATALOG["tiny"] = make_entry(transposed=True)
    write_all(tmp_path)
    dataset = data.load("tiny", tmp_path)
    assert np.array_equal(dataset.train_inputs, TRAIN_IMAGES.transpose(0, 2, 1))
    assert dataset.shape == (3, 2)


def test_code_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 8
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["parts"].train_labels.shape == (1202,)
    assert names["dataset"].classes == ("0", "1", "2")
    assert names["population"].encode(names["features"]).shape == (100, 48)
    assert names["targets"].n_classes == 0
    assert names["images"].shape == (10_000, 2, 10)
    assert names["spikes"].steps.tolist() == [3, 105]
    assert names["spikes"].channels.tolist() == [637, 360]
    assert names["filmed"].shape == (2, 8, 8)
    assert len(names["binned"].steps) > 200
    assert names["heard"].n_channels == 78


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(DataError, match=r"digits, mnist, fashion.*idx:FOLDER"):
        data.load("mnits")
    assert set(data.names()) > {"digits", "mnist", "fashion", "emnist", "emnist-47-subset"}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_own_folder(tmp_path: Path, suffix: str) -> None:
    write_all(tmp_path, suffix)
    (tmp_path / "train-notes.txt").write_text("about the images")
    dataset = data.load(f"idx:{tmp_path}")
    assert_tiny(dataset)
    assert dataset.classes == ("0", "1")
    (tmp_path / "mapping.txt").write_text("0 65\n1 66\n")
    assert data.load(f"idx:{tmp_path}").classes == ("A", "B")
    (tmp_path / "mapping.txt").write_text("1 a dog\n0 cat\n\n")
    assert data.load(f"idx:{tmp_path}").classes == ("cat", "a dog")


def test_own_feature_vectors(tmp_path: Path) -> None:
    for side in ("train", "test"):
        data.write_idx(tmp_path / f"{side}-images.idx", np.ones((3, 5), np.uint8))
        data.write_idx(tmp_path / f"{side}-labels.idx", np.array([2, 0, 1], np.int32))
    dataset = data.load(f"idx:{tmp_path}")
    assert dataset.train_inputs.shape == (3, 1, 5)
    assert dataset.n_classes == 3


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_own_folder_in_colour(tmp_path: Path, suffix: str) -> None:
    images = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 3), np.uint8)
    labels = np.array([0, 1, 1, 0, 0, 1], np.uint8)
    for side, rows in (("train", slice(4)), ("test", slice(4, None))):
        data.write_idx(tmp_path / f"{side}-images-idx4-ubyte{suffix}", images[rows])
        data.write_idx(tmp_path / f"{side}-labels-idx1-ubyte{suffix}", labels[rows])
    dataset = data.load(f"idx:{tmp_path}")
    assert (dataset.shape, dataset.noun) == ((4, 5, 3), "image")
    assert np.array_equal(dataset.train_inputs, images[:4])
    assert np.array_equal(dataset.test_inputs, images[4:])
    assert sorted(dataset.hashes) == sorted(
        f"{side}-{kind}-ubyte" for side in ("train", "test") for kind in ("images-idx4", "labels-idx1")
    )
    parts = data.split(dataset, 0.25, seed=0)
    assert (parts.train_inputs.shape, parts.validation_inputs.shape) == ((3, 4, 5, 3), (1, 4, 5, 3))
    with pytest.raises(DataError, match="is in colour"):
        data.load(f"events:idx:{tmp_path}")


@pytest.mark.parametrize(
    ("index", "array", "words"),
    [
        (1, np.array([0, 1, 1], np.uint8), "4 inputs, labels of shape"),
        (1, np.array([0, 1, -1, 0], np.int32), "label -1 of input 2"),
        (1, np.array([0, 1, 2_000_000_000, 0], np.int32), "label 2000000000 of input 2"),
        (1, np.array([[0, 1, 1, 0]], np.uint8), "integers of shape"),
        (1, np.array([0, 1, 1, 0], np.float32), "labels are float32"),
        (1, np.array([0, 0, 0, 0], np.uint8), "at least 2"),
        (1, np.array([0, 2, 2, 0], np.uint8), r"test labels \[1\] have no training input"),
        (3, np.array([0, 2], np.uint8), "label 2 of input 1 is outside"),
        (0, TRAIN_IMAGES.astype(np.int16), "must be uint8"),
        (0, TRAIN_IMAGES[:, None, None], r"give \(n, height, width\) or \(n, height, width, channels\)"),
        (0, np.zeros((4, 3, 6, 6), np.uint8), r"channels first; .*array\.transpose\(0, 2, 3, 1\)"),
        (0, np.stack([TRAIN_IMAGES] * 3, axis=3), "one shape, channels included"),
        (2, ARRAYS[2][:, :1], "one shape"),
    ],
)
def test_own_folder_refuses(tmp_path: Path, index: int, array: np.ndarray, words: str) -> None:
    write_all(tmp_path)
    data.write_idx(tmp_path / f"{NAMES[index]}.gz", array)
    with pytest.raises(DataError, match=words):
        data.load(f"idx:{tmp_path}")


def test_own_folder_wants_exactly_one_file_of_each(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        data.load(f"idx:{tmp_path / 'absent'}")
    with pytest.raises(DataError, match="there is none"):
        data.load(f"idx:{tmp_path}")
    write_all(tmp_path)
    write_all(tmp_path, "")
    assert_tiny(data.load(f"idx:{tmp_path}"))
    data.write_idx(tmp_path / "test-images-idx3-ubyte", TRAIN_IMAGES)
    with pytest.raises(DataError, match="all look like it"):
        data.load(f"idx:{tmp_path}")


@pytest.mark.parametrize(
    "text", ["0 a\n", "0 a\n0 b\n", "0 a\n2 b\n", "x a\n", "0\n1\n", "0 65\n1 99999999\n"]
)
def test_own_folder_refuses_mapping(tmp_path: Path, text: str) -> None:
    write_all(tmp_path)
    (tmp_path / "mapping.txt").write_text(text, "utf-8")
    with pytest.raises(DataError):
        data.load(f"idx:{tmp_path}")


def test_digits_are_embedded_and_stratified() -> None:
    dataset = digits()
    assert dataset.train_inputs.shape == (1442, 8, 8)
    assert dataset.test_inputs.shape == (355, 8, 8)
    assert dataset.train_inputs.min() == 0
    assert dataset.train_inputs.max() == 255
    train, test = np.bincount(dataset.train_labels), np.bincount(dataset.test_labels)
    assert (test == (train + test) // 5).all()
    assert data.load("digits").hashes == dataset.hashes
    assert data.verify("digits") == []
    assert data.get("digits") == {}


def test_split_is_drawn_by_the_seed() -> None:
    dataset = digits()
    one, two = data.split(dataset, 1 / 6, seed=3), data.split(dataset, 1 / 6, seed=3)
    assert np.array_equal(one.validation_inputs, two.validation_inputs)
    assert len(one.validation_labels) == 240
    assert len(one.train_labels) == 1202
    other = data.split(dataset, 1 / 6, seed=4)
    assert not np.array_equal(one.validation_labels, other.validation_labels)
    joined = np.concatenate([one.train_inputs, one.validation_inputs]).reshape(1442, -1)
    everything = dataset.train_inputs.reshape(1442, -1)
    assert sorted(map(bytes, joined)) == sorted(map(bytes, everything))
    assert one.test_inputs is dataset.test_inputs


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1e-9, 0.99999, float("nan")])
def test_split_refuses_empty_parts(share: float) -> None:
    with pytest.raises(UsageError, match="leave some for both"):
        data.split(digits(), share, seed=1)
