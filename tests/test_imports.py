"""Imports: every module loads on its own, what needs no torch loads without it, and layers point down."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bitspike

ROOT = Path(__file__).parents[1]
SOURCE = Path(bitspike.__file__).parent
MODULES = sorted(
    ".".join(("bitspike", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.name != "__main__.py"
)
WITHOUT_TORCH = (
    "bitspike",
    "bitspike.errors",
    "bitspike.deploy.load",
    "bitspike.cli",
    "bitspike.codec",
    "bitspike.plugins",
    "bitspike.recipes",
    *(name for name in MODULES if name.startswith(("bitspike.coding", "bitspike.data"))),
)
BLOCK = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Absent())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_modules_were_found() -> None:
    assert {"bitspike", "bitspike.rules.first_spike_race", "bitspike.cli.train"} <= set(MODULES)
    assert {"bitspike.data.augment", "bitspike.data.distortion", "bitspike.coding"} <= set(WITHOUT_TORCH)


def test_each_module_can_be_the_first_one_imported() -> None:
    """A circle of imports shows only for some first module; forking after torch keeps this quick."""
    code = f"""
import importlib, os, sys, traceback
import matplotlib.pyplot, PIL.Image, rich, sklearn.datasets, torch.distributed, torchmetrics.functional, tyro
for name in {MODULES!r}:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
"""
    if sys.platform == "win32":
        pytest.skip("needs fork")
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_what_ships_needs_no_torch() -> None:
    done = python(BLOCK.format(blocked=["torch"]) + f"for m in {WITHOUT_TORCH!r}: importlib.import_module(m)")
    assert done.returncode == 0, done.stderr


def test_optional_extras_are_not_needed_to_import_anything() -> None:
    blocked = ["snntorch", "spikingjelly", "norse", "tensorboard", "torchvision"]
    done = python(BLOCK.format(blocked=blocked) + f"for m in {MODULES!r}: importlib.import_module(m)")
    assert done.returncode == 0, done.stderr


def test_public_names_are_there() -> None:
    assert "load" in bitspike.__all__
    for name in bitspike.__all__:
        assert getattr(bitspike, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        bitspike.no_such_name  # noqa: B018


def test_every_room_stands_in_the_list_of_layers() -> None:
    """import-linter checks the list (`make imports`); a folder that is not in it would go unchecked."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    listed = {name for layer in contract["layers"] for name in layer.replace(" ", "").split("|")}
    free = {"bitspike.__init__", "bitspike.__main__"}
    folders = {f"bitspike.{path.stem}" for path in SOURCE.iterdir() if path.suffix == ".py"} - free
    folders |= {f"bitspike.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")}
    assert folders == listed


def test_nobody_pickles_or_evaluates() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            )
            assert not {"pickle", "dill", "cloudpickle", "joblib", "shelve"} & set(names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, path
