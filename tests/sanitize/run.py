"""The native tests under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer: `make sanitize`.

Each builds csrc in a folder of its own, build/sanitize/NAME, and runs the tests with that module in place of the
installed one. Python, numpy and torch are not instrumented; what they cause by that is left out below, with the reason.
Ends with 0 if the tests pass and nothing was reported. Needs Linux, GCC with its sanitizers, CMake and Ninja.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/ops",
    "tests/packed",
    "tests/coding",
    "tests/data/test_data_event_camera.py",
    "tests/test_packed.py",
)
LIBRARIES = {"address": ("asan", "ubsan"), "thread": ("tsan",)}
OPTIONS = {
    # Leaks: an interpreter that ends frees little. Python knows how to go on where there is no memory.
    # Use after return: GCC keeps such frames in blocks not aligned for vectors of 64 bytes; their stores would fault.
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": f"suppressions={Path(__file__).with_name('thread.supp')}:halt_on_error=0:second_deadlock_stack=1",
}
LEFT_OUT = {
    "takes_no_more_memory": "a sanitizer keeps freed memory for a while",
    "out_of_memory": "a limit of the address space leaves no room for a sanitizer's own",
    "without_torch": "asks what other processes import, not what kernels do",
}


def build(kind: str) -> Path:
    """The module, built by CMake."""
    folder = ROOT / "build" / "sanitize" / kind
    cmake = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder]
    subprocess.run(
        [*cmake, f"-DPython_EXECUTABLE={sys.executable}", f"-DBITSPIKE_SANITIZE={kind}"], check=True
    )
    subprocess.run(["cmake", "--build", folder], check=True)
    return next(folder.glob("_native.*.so"))


def surroundings(kind: str, module: Path) -> dict[str, str]:
    """Variables of a process whose first library is the sanitizer's."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    files = [
        subprocess.run(
            [*compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        )
        for name in (*LIBRARIES[kind], "stdc++")  # the C++ library before the first exception is thrown
    ]
    reports = f":log_path={module.with_name('report')}"
    options = {name: value + reports for name, value in OPTIONS.items()}
    options["OPENBLAS_NUM_THREADS"] = "1"  # numpy's own threads, of which ThreadSanitizer sees half
    return {**os.environ, **options, "LD_PRELOAD": " ".join(done.stdout.strip() for done in files)}


def run(kind: str) -> bool:
    """Build and run; are the tests passed, and is there no report?"""
    module = build(kind)
    for old in module.parent.glob("report.*"):
        old.unlink()
    # Without address space randomisation: ThreadSanitizer's shadow lies at fixed places.
    command = ["setarch", platform.machine(), "-R", sys.executable, __file__, "--here", str(module)]
    passed = subprocess.run(command, env=surroundings(kind, module), cwd=ROOT).returncode == 0
    reports = sorted(module.parent.glob("report.*"))
    for report in reports:
        print(report.read_text())
    print(f"{kind}: {'passed' if passed else 'FAILED'}, {len(reports)} processes with reports", flush=True)
    return passed and not reports


def test(module: Path) -> int:
    """The native tests in this process, with the module of a file."""
    spec = importlib.util.spec_from_file_location("bitspike._native", module)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["bitspike._native"] = native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    chosen = " and ".join(f"not {name}" for name in LEFT_OUT)
    return pytest.main(["-p", "no:cacheprovider", "-k", chosen, *(str(ROOT / name) for name in TESTS)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        sys.exit(test(Path(sys.argv[2])))
    clean = [run(kind) for kind in sys.argv[1:] or LIBRARIES]
    sys.exit(not all(clean))
