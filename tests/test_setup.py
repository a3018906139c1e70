"""The build falls back to pure Python without a compiler, and the set-up files agree with each other."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built with compilers that always fail."""
    for module in ("scikit_build_core", "nanobind", "pip"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: the build cannot be tried without a network")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    command = [
        *pip,
        "wheel",
        str(ROOT),
        *offline,
        "--config-settings",
        f"build-dir={folder / 'build'}",
        "-w",
        str(folder),
    ]
    broken = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false"}
    done = subprocess.run(command, env=broken, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_without_a_compiler_the_wheel_is_pure_python(pure_wheel: Path) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(pure_wheel).namelist()
    assert "bitspike/py.typed" in names
    assert "bitspike/experiment.py" in names
    assert not [name for name in names if name.endswith((".so", ".pyd"))]


def test_the_wheel_carries_the_notices_of_what_is_linked_into_it(pure_wheel: Path) -> None:
    names = zipfile.ZipFile(pure_wheel).namelist()
    assert {Path(name).name for name in names if "/licenses/" in name} == {
        "LICENSE", "nanobind.txt", "robin-map.txt"
    }  # fmt: skip
    (theirs,) = [file for file in importlib.metadata.files("nanobind") or () if file.name == "LICENSE"]
    assert (ROOT / "licenses" / "nanobind.txt").read_text() == theirs.read_text()
    headers = Path(str(importlib.metadata.distribution("nanobind").locate_file("nanobind"))) / "ext"
    assert [folder.name for folder in headers.iterdir()] == ["robin_map"], (
        "nanobind brings more than was noticed"
    )


def test_the_pure_wheel_trains_and_decides_on_the_reference_back_end(pure_wheel: Path) -> None:
    """Read straight from the wheel's folder, past an editable install of this checkout."""
    folder = pure_wheel.parent / "unpacked"
    zipfile.ZipFile(pure_wheel).extractall(folder)
    code = f"""
import sys
sys.meta_path[:] = [f for f in sys.meta_path if not type(f).__module__.startswith("_editable")]
sys.path.insert(0, {str(folder)!r})
import bitspike, numpy as np
from bitspike.cli.doctor import doctor
from bitspike.estimator import BitspikeClassifier
assert bitspike.__file__.startswith({str(folder)!r}), bitspike.__file__
X = np.random.default_rng(0).normal(size=(60, 2))
y = X[:, 0] > 0
model = BitspikeClassifier((16,), epochs=40, batch_size=10, random_state=0).fit(X, y)
assert model.model_.backend == "reference"
assert model.score(X, y) > 0.8, model.score(X, y)
native = doctor()["native"]
assert not native["there"] and native["mend"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_constraints_hold_one_exact_version_per_package() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines)  # type: ignore[union-attr]
    assert len(pins) == len(lines)
    assert int(pins["rich"].split(".")[0]) < 15, "flwr wants rich < 15"
    assert int(pins["packaging"].split(".")[0]) < 26, "flwr wants packaging < 26"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    canonical = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    for requirement in wanted:
        assert re.match(r"[\w-]+", requirement)[0] in canonical, f"{requirement} is not pinned"  # type: ignore[index]


def test_make_help_lists_the_promised_targets() -> None:
    shown = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    ).stdout
    targets = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert {"demo", "test", "bench", "docs", "clean"} <= targets
