"""Plant faults, one at a time, in a copy of the project, and see whether a test notices: `make mutants`.

    python tests/mutants/plant.py              every fault of the lists (*.toml beside this file)
    python tests/mutants/plant.py csrc axis    those with one of these words in their file or in what they say

Faults that no test noticed are named at the end; their number is the exit code. The copy and its native module lie in
build/mutants and are brought up to date by the next call; the checkout is only read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "build" / "mutants"
NATIVE = "_native"  # how the compiled module's file begins
SECONDS = 900  # for the tests of one fault; a fault that makes them run longer is noticed
ALL_PASSED, SOME_FAILED = 0, 1  # exit codes of pytest


@dataclass(frozen=True)
class Fault:
    """A careless change: `old`, which stands exactly once in `file`, becomes `new`; one of `tests` should fail."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()  # below tests/, as pytest takes them
    equivalent: str = ""  # why no test can notice: not planted

    @property
    def is_native(self) -> bool:
        """Does it take a compiler?"""
        return self.file.startswith("csrc/")


def read_faults(folder: Path = HERE) -> list[Fault]:
    """All faults of the lists, those of C++ files last and file by file, so that little is compiled twice."""
    faults = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]:
            faults.append(Fault(**{**entry, "tests": tuple(entry.get("tests", ()))}))
    return sorted(faults, key=lambda fault: (fault.is_native, fault.file if fault.is_native else ""))


def stale(fault: Fault, root: Path = ROOT) -> str:
    """What is wrong with an entry of the lists, or nothing."""
    path = root / fault.file
    times = path.read_text(encoding="utf-8").count(fault.old) if path.is_file() else 0
    if times != 1:
        return f"{fault.file}: {fault.old!r} stands there {times} times, not once"
    if bool(fault.tests) == bool(fault.equivalent):
        return f"{fault.file}: {fault.what!r} needs either tests or a reason why none can notice"
    absent = [test for test in fault.tests if not (root / "tests" / test.partition("::")[0]).is_file()]
    return f"{fault.file}: there is no {absent[0]}" if absent else ""


class Copy:
    """The project once more, in `folder`, with a native module and an interpreter that imports the copy."""

    def __init__(self, folder: Path) -> None:
        self.root, self._build, self._venv = folder / "tree", folder / "native", folder / "venv"
        self._python = self._venv / "bin" / "python"
        tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self._environment = {
            **os.environ,
            "PATH": tools,
            "PYTHONPATH": str(self.root / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a file can have one size and one second
        }

    def update(self) -> None:
        """Copy what git knows or does not ignore, where it differs, and compile."""
        self._make_interpreter()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
        for name in wanted:
            self._write(name, (ROOT / name).read_bytes())
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and name not in wanted and not path.name.startswith(NATIVE):
                path.unlink()
        place = self.root / "src" / "bitspike"
        self._run(
            ["cmake", "-S", str(self.root), "-B", str(self._build), "-G", "Ninja",
             f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={place}"]
        )  # fmt: skip
        self._run(["cmake", "--build", str(self._build)])
        found = self._run([str(self._python), "-c", f"import bitspike.{NATIVE} as m; print(m.__file__)"])
        if not Path(found.strip()).is_relative_to(place):
            raise SystemExit(f"the copy's tests would import {found.strip()}, not the copy in {place}")

    def plant(self, fault: Fault) -> None:
        """Change the file; compile where it is C++. A fault that does not compile ends all."""
        text = (ROOT / fault.file).read_text(encoding="utf-8")
        changed = text.replace(fault.old, fault.new)
        if fault.is_native:
            self._write(fault.file, changed.encode())
            self._run(["cmake", "--build", str(self._build)])
        else:
            compile(changed, fault.file, "exec")
            self._write(fault.file, changed.encode())

    def restore(self, fault: Fault) -> None:
        """The file as it was; the next fault in C++ compiles it with its own."""
        self._write(fault.file, (ROOT / fault.file).read_bytes())

    def test(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests until one fails: pytest's exit code and what it printed."""
        names = [f"tests/{test}" for test in tests]
        command = [str(self._python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *names]
        try:
            done = subprocess.run(
                command, cwd=self.root, env=self._environment, text=True, timeout=SECONDS,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return SOME_FAILED, f"FAILED took more than {SECONDS} s\n"
        return done.returncode, done.stdout

    def _make_interpreter(self) -> None:
        """It sees the installed libraries as a folder, without the hook by which the checkout itself is installed."""
        if not self._python.exists():
            venv.create(self._venv, symlinks=True)
        home = {"base": str(self._venv), "platbase": str(self._venv)}
        libraries = Path(sysconfig.get_path("purelib", "venv", home))
        (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def _write(self, name: str, data: bytes) -> None:
        path = self.root / name
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            shutil.copymode(ROOT / name, path)

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command, env=self._environment, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
        return done.stdout


def noticed_by(output: str) -> str:
    """The test that failed, from what pytest printed."""
    for line in output.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" - ")[0].split(" ", 1)[1].removeprefix("tests/")
    return "a test run that broke off"


def tried(copy: Copy, fault: Fault) -> str:
    """The test that notices the fault; empty where none does."""
    try:
        copy.plant(fault)
        code, output = copy.test(fault.tests)
    finally:
        copy.restore(fault)
    return "" if code == ALL_PASSED else noticed_by(output)


def chosen(words: Sequence[str]) -> list[Fault]:
    """The faults with one of the words, default all; a list that is stale ends all."""
    faults = [
        fault for fault in read_faults() if not words or any(w in f"{fault.file} {fault.what}" for w in words)
    ]
    if complaints := [complaint for complaint in map(stale, faults) if complaint]:
        raise SystemExit("\n".join(["the list of faults is stale:", *complaints]))
    if all(fault.equivalent for fault in faults):
        raise SystemExit(f"no fault that can be noticed has {' or '.join(words)} in its file or words")
    return faults


def main(words: Sequence[str]) -> int:
    """Plant the faults that the words choose; how many survived."""
    faults = chosen(words)
    planted = [fault for fault in faults if not fault.equivalent]
    copy = Copy(WORK)
    print(f"{len(planted)} faults; making the copy in {WORK}", flush=True)
    copy.update()
    print("running their tests on the copy as it is", flush=True)
    code, output = copy.test(sorted({test for fault in planted for test in fault.tests}))
    if code != ALL_PASSED:
        raise SystemExit(f"the tests fail, or there are none, before any fault is planted:\n{output}")
    survivors, began = 0, time.monotonic()
    file_width, what_width = (
        max(len(getattr(fault, name)) for fault in planted) for name in ("file", "what")
    )
    print(f"{'':7}  {'file':{file_width}}  {'fault':{what_width}}  seconds  noticed by")
    for number, fault in enumerate(planted, 1):
        start = time.monotonic()
        test = tried(copy, fault)
        survivors += not test
        seconds = time.monotonic() - start
        place, about = f"{number:3}/{len(planted):3}", f"{fault.file:{file_width}}  {fault.what:{what_width}}"
        print(f"{place}  {about}  {seconds:7.0f}  {test or 'NO TEST'}", flush=True)
    for fault in faults:
        if fault.equivalent:
            print(f"equivalent: {fault.file}: {fault.what}: {' '.join(fault.equivalent.split())}")
    minutes = (time.monotonic() - began) / 60
    print(f"{len(planted)} faults planted in {minutes:.0f} minutes, {survivors} noticed by no test")
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
