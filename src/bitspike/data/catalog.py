"""The data sets known by name: files, mirrors, SHA-256 of the uncompressed content, licence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bitspike.errors import DataError

PARTS = ("train_inputs", "train_labels", "test_inputs", "test_labels")


@dataclass(frozen=True)
class File:
    """One IDX file: name without `.gz`, size and SHA-256 uncompressed (None: only the size is checked)."""

    name: str
    n_bytes: int
    sha256: str | None

    @property
    def served(self) -> str:
        """Its name where it is downloaded."""
        return f"{self.name}.gz"


@dataclass(frozen=True)
class Archive:
    """Many files in one archive `name` (zip, tar or tar.gz), or unpacked beside it: all folders `unpacked` are there.

    `members`: regular expression of the names of the data files, below any folders that lead to them; other files are
    passed over. There are `n_members` with at most `n_bytes` together. SHA-256 (None: not checked): `sha256` of the
    archive as published, `content` of its members (`archives.digest`), by which what was unpacked is checked.
    """

    name: str
    unpacked: tuple[str, ...]
    members: str
    n_members: int
    n_bytes: int
    sha256: str | None = None
    content: str | None = None

    @property
    def served(self) -> str:
        """Its name where it is downloaded."""
        return self.name


@dataclass(frozen=True)
class Entry:
    """A data set in `folder`: IDX files in the order of `PARTS`, or archives of recordings, as `kind` says.

    One without files is computed. Without classes it is a regression set.
    A file's URL is a mirror plus its name as `served`. `transposed` marks files whose
    images are stored column by column (EMNIST); loading makes them upright.
    """

    name: str
    title: str
    folder: str
    files: tuple[File, ...] | tuple[Archive, ...]
    classes: tuple[str, ...]
    licence: str
    source: str
    mirrors: tuple[str, ...] = ()
    note: str = ""
    transposed: bool = False
    kind: Literal["idx", "nmnist", "mnist-dvs", "fsdd", "ti46"] = "idx"

    @property
    def n_bytes(self) -> int:
        """Size of all files, uncompressed (of archives without a known content, at most)."""
        return sum(file.n_bytes for file in self.files)


def _mnist_files(*hashes: str) -> tuple[File, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    return tuple(File(f"{n}-ubyte", s, h) for n, s, h in zip(names, sizes, hashes, strict=True))


def _emnist_files(prefix: str, sizes: tuple[int, ...], hashes: tuple[str | None, ...]) -> tuple[File, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")
    return tuple(File(f"{prefix}-{n}-ubyte", s, h) for n, s, h in zip(names, sizes, hashes, strict=True))


_EMNIST_CLASSES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
_EMNIST_LICENCE = "public: derived from NIST Special Database 19; cite Cohen et al. 2017, arXiv:1702.05373"

_NMNIST_LICENCE = "CC BY-SA (G. Orchard, A. Jayawant, G. Cohen, N. Thakor 2015)"

CATALOG: dict[str, Entry] = {
    "digits": Entry(
        name="digits",
        title="1,797 digits of 8 x 8 pixels, embedded in scikit-learn",
        folder="",
        files=(),
        classes=tuple("0123456789"),
        licence="CC BY 4.0 (UCI, E. Alpaydin and C. Kaynak)",
        source="https://archive.ics.uci.edu/dataset/80",
    ),
    "mnist": Entry(
        name="mnist",
        title="MNIST, 60,000 + 10,000 handwritten digits of 28 x 28 pixels",
        folder="mnist",
        files=_mnist_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        classes=tuple("0123456789"),
        licence="CC BY-SA 3.0 (Y. LeCun, C. Cortes, C. J. C. Burges)",
        source="http://yann.lecun.com/exdb/mnist/",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion": Entry(
        name="fashion",
        title="Fashion-MNIST, 60,000 + 10,000 articles of clothing of 28 x 28 pixels",
        folder="fashion-mnist",
        files=_mnist_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        licence="MIT (Zalando SE)",
        source="https://github.com/zalandoresearch/fashion-mnist",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
    "emnist": Entry(
        name="emnist",
        title="EMNIST Balanced, 112,800 + 18,800 characters of 47 classes, 28 x 28 pixels",
        folder="emnist",
        files=_emnist_files("emnist-balanced", (88_435_216, 112_808, 14_739_216, 18_808), (None,) * 4),
        classes=_EMNIST_CLASSES,
        licence=_EMNIST_LICENCE,
        source="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip (one archive: unpack it)",
        note="content checked by size only: no published SHA-256 of the single files",
        transposed=True,
    ),
    "emnist-47-subset": Entry(
        name="emnist-47-subset",
        title="a part of EMNIST ByMerge, 41,538 + 3,055 characters of 47 classes, 28 x 28 pixels",
        folder="emnist-47-subset",
        files=_emnist_files(
            "emnist-47-subset",
            (32_565_808, 41_546, 2_395_136, 3_063),
            (
                "d3ae2621b2b346a723c99c0fb0dc7bc2a1efd9d9e069547c2546d796506d521b",
                "4e57d0cc01e5b856010ca4d872b0dbf4fc47081f960768c6acc73912a470caab",
                "084e48c99f22bbec7d5796a8ea7caeb4a037310cc4758c46bdb67649092f35c1",
                "586ff4c701625b74de35a65b84b35f5ff65863515622c57e1d70d3d4ca25f6ae",
            ),
        ),
        classes=_EMNIST_CLASSES,
        licence=_EMNIST_LICENCE,
        source="the test split of EMNIST ByMerge (docs/data.md says which images)",
        note="a subset with its own split, not EMNIST Balanced: not to be compared with published figures",
        transposed=True,
    ),
    "nmnist": Entry(
        name="nmnist",
        title="N-MNIST, 60,000 + 10,000 event recordings of the MNIST digits, 34 x 34 pixels",
        folder="nmnist",
        files=(
            Archive("Train.zip", ("Train",), r"Train/[^/]+/[^/]+\.bin", 60_000, 1_500_000_000),
            Archive("Test.zip", ("Test",), r"Test/[^/]+/[^/]+\.bin", 10_000, 250_000_000),
        ),
        classes=tuple("0123456789"),
        licence=_NMNIST_LICENCE,
        source="https://www.garrickorchard.com/datasets/n-mnist",
        note="content checked by the number of recordings only: no published SHA-256",
        kind="nmnist",
    ),
    "nmnist-1100": Entry(
        name="nmnist-1100",
        title="a part of N-MNIST, the first 1,000 + 100 event recordings, 34 x 34 pixels",
        folder="n-mnist",
        files=(
            Archive(
                "n-mnist-1100.zip",
                ("Train", "Test"),
                r"(?:Train|Test)/[^/]+/[^/]+\.bin",
                1100,
                22_594_135,
                "175a52a6f2d5786462f9e5c92eb29fb4056838bdaa771a1986f9aa34dd5c6d9a",
                "3fe769d0d9356f140c84b8427ce8e6c22629da264ec3c941a456e79213875776",
            ),
        ),
        classes=tuple("0123456789"),
        licence=_NMNIST_LICENCE,
        source="the first recordings of N-MNIST (docs/data.md says which)",
        note="a subset, 1,100 of the 70,000 recordings: not to be compared with published figures",
        kind="nmnist",
    ),
    "mnist-dvs": Entry(
        name="mnist-dvs",
        title="MNIST-DVS, 9,000 + 1,000 event recordings of moving digits, scale 4, the middle 26 x 26 pixels",
        folder="mnist-dvs",
        files=tuple(
            Archive(
                f"grabbed_data{k}.zip",
                (f"grabbed_data{k}",),
                rf"grabbed_data{k}/scale4/mnist_{k}_scale04_[0-9]{{4}}\.aedat",
                1000,
                1_000_000_000,
            )
            for k in range(10)
        ),
        classes=tuple("0123456789"),
        licence="cite T. Serrano-Gotarredona and B. Linares-Barranco 2015, doi:10.3389/fnins.2015.00481",
        source="http://www2.imse-cnm.csic.es/caviar/MNISTDVS.html",
        note="content checked by the number of recordings only: no published SHA-256",
        kind="mnist-dvs",
    ),
    "fsdd": Entry(
        name="fsdd",
        title="Free Spoken Digit Dataset, 2,700 + 300 recordings of 6 speakers, 8 kHz; fsdd:SPEAKER tests on that one",
        folder="fsdd",
        files=(
            Archive(
                "free-spoken-digit-dataset.tar.gz",
                ("recordings",),
                r"recordings/[^/]+\.wav",
                3000,
                21_128_848,
                content="04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b",
            ),
        ),
        classes=tuple("0123456789"),
        licence="CC BY-SA 4.0 (Z. Jackson and others, DOI 10.5281/zenodo.1342401)",
        source="https://github.com/Jakobovski/free-spoken-digit-dataset",
        mirrors=("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.10/",),
        kind="fsdd",
    ),
    "ti46-alpha": Entry(
        name="ti46-alpha",
        title="TI46, 4,142 + 6,628 spoken letters of 16 speakers, 12.5 kHz",
        folder="ti46",
        files=(
            Archive(
                "LDC93S9.tgz",
                ("ti_alpha",),
                r"(?i:ti_alpha/(?:train|test)/[fm][1-8]/[^/]+\.wav)",
                4142 + 6628,
                1_000_000_000,
            ),
        ),
        classes=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        licence="LDC User Agreement (LDC93S9)",
        source="https://catalog.ldc.upenn.edu/LDC93S9 (licensed; its folder ti_alpha with train and test)",
        note="content checked by the number of recordings only: no published SHA-256",
        kind="ti46",
    ),
    "moons": Entry(
        name="moons",
        title="two moons, 200 + 1,000 points of 2 features, 10 units each",
        folder="",
        files=(),
        classes=("upper", "lower"),
        licence="computed",
        source="arXiv:2012.08300",
        note="synthetic",
    ),
    "regression": Entry(
        name="regression",
        title="noisy curve with gaps, 60 + 600 points of 1 feature, 20 units",
        folder="",
        files=(),
        classes=(),
        licence="computed",
        source="arXiv:2012.08300",
        note="synthetic",
    ),
}  # fmt: skip


def entry(name: str) -> Entry:
    """The entry of that name, fsdd also for `fsdd:SPEAKER`, that of images for `events:NAME`; else `DataError`."""
    if name.startswith("events:"):
        still = entry(name[7:])
        return replace(still, name=name, title=f"simulated events of {still.title}", note="simulated events")
    if name.startswith("fsdd:"):
        name = "fsdd"
    if name not in CATALOG:
        raise DataError(
            f"data set {name!r} is unknown; one of {', '.join(CATALOG)}, idx:FOLDER with IDX files, or events:NAME "
            "for simulated events of images"
        )
    return CATALOG[name]
