"""`bitspike doctor`: what this installation and this machine can do."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from bitspike.cli._terminal import Command, bind

EXTRAS = {"snntorch": "make bench-rivals", "spikingjelly": "make bench-rivals", "norse": "make bench-rivals"}


def doctor(torch: bool = False) -> dict[str, Any]:
    """Say what is installed, whether the native module is there, and what the machine offers.

    example: bitspike doctor --json
    example: bitspike doctor --torch

    Args:
        torch: ask PyTorch as well, for its threads and CUDA devices; takes seconds
    """
    asked = _torch() if torch else {"torch_threads": None, "cuda": None}
    names = ("bitspike", "torch", "numpy", "scikit-learn", "safetensors", "tyro", "rich")
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in names}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "native": _native(),
        **asked,
        "extras": {name: importlib.util.find_spec(name) is not None for name in EXTRAS},
        "data": _data(),
    }


def _torch() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"torch_threads": torch.get_num_threads(), "cuda": cuda}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _native() -> dict[str, Any]:
    try:
        from bitspike import _native
    except ImportError as error:
        found = shutil.which(os.environ.get("CXX", "c++"))
        mend = (
            f"there is a compiler ({found}): install again, `pip install --force-reinstall --no-deps -v .`, and "
            "read what the build says"
            if found
            else "there is no C++ compiler: install one (Debian: apt install g++), then install bitspike again"
        )
        return {"there": False, "why": str(error), "mend": mend, "backend": "reference"}
    sets = list(_native.instruction_sets())
    return {
        "there": True,
        "file": _native.__file__,
        "instruction_sets": sets,
        "used": sets[-1],
        "backend": "native",
    }


def _data() -> dict[str, Any]:
    from bitspike.data import CATALOG
    from bitspike.data.files import cache, locate
    from bitspike.errors import DataError

    folder = os.environ.get("BITSPIKE_DATA")
    named = folder if folder and Path(folder).is_dir() else None
    try:
        there = [name for name, known in CATALOG.items() if all(locate(known, f, named) for f in known.files)]
    except DataError:  # BITSPIKE_DATA names no folder
        there = ["digits"]
    return {"BITSPIKE_DATA": folder, "is_folder": named is not None, "cache": str(cache()), "there": there}


def command(arguments: list[str]) -> Command:
    return bind(doctor, arguments, "bitspike doctor")


def show(result: dict[str, Any]) -> None:
    native, data = result["native"], result["data"]
    asked = result["torch_threads"] is not None
    without = "+cpu" in (result["versions"]["torch"] or "")
    unknown = "bitspike doctor --torch says"
    lines = {
        "versions": ", ".join(f"{name} {v or 'missing'}" for name, v in result["versions"].items()),
        "machine": result["machine"],
        "native": f"yes, {native['file']}" if native["there"] else f"no ({native['why']}); {native['mend']}",
        "instruction sets": ", ".join(native.get("instruction_sets", []))
        or "none: the reference back end runs",
        "used": native.get("used", "reference back end"),
        "torch threads": result["torch_threads"] if asked else unknown,
        "CUDA": result["cuda"] or ("none (nothing here needs it)" if asked or without else unknown),
        "to compare with": ", ".join(
            f"{n} {'yes' if v else f'no ({EXTRAS[n]})'}" for n, v in result["extras"].items()
        ),
        "BITSPIKE_DATA": (data["BITSPIKE_DATA"] or "not set")
        + ("" if data["is_folder"] or not data["BITSPIKE_DATA"] else ", which is not a folder"),
        "downloads": data["cache"],
        "data there": ", ".join(data["there"]),
    }
    for name, value in lines.items():
        print(f"{name:<17}{value}")
