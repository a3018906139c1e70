"""The lists of planted faults fit the project: `make mutants` plants them and takes long, this does not."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from plant import ROOT, Fault, noticed_by, read_faults, stale

FAULTS = read_faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{Path(fault.file).name}: {fault.what}")
def test_the_list_is_not_stale(fault: Fault) -> None:
    assert stale(fault) == ""
    assert fault.new != fault.old
    if not fault.is_native:
        ast.parse((ROOT / fault.file).read_text(encoding="utf-8").replace(fault.old, fault.new))


def test_every_room_has_faults_and_none_is_planted_twice() -> None:
    assert len([fault for fault in FAULTS if not fault.equivalent]) >= 60
    changes = Counter((fault.file, fault.new) for fault in FAULTS)
    assert not [change for change, times in changes.items() if times > 1]
    files = {Path(fault.file) for fault in FAULTS}
    source = Path("src/bitspike")
    folders = {path.name for path in (ROOT / source).iterdir() if (path / "__init__.py").is_file()}
    for folder in folders - {"bench", "recipes"}:  # figures of speed, and constants
        assert any(file.is_relative_to(source / folder) for file in files), folder
    for path in (ROOT / "csrc").iterdir():
        if path.is_dir():
            assert any(file.is_relative_to(Path("csrc") / path.name) for file in files), path.name


def test_a_list_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").touch()
    (tmp_path / "a.py").write_text("x = 1\ny = 1\n")
    tests = ("test_a.py::test_x",)
    assert stale(Fault("", "a.py", "x = 1", "x = 2", tests), tmp_path) == ""
    assert "2 times" in stale(Fault("", "a.py", "= 1", "= 2", tests), tmp_path)
    assert "0 times" in stale(Fault("", "b.py", "x = 1", "x = 2", tests), tmp_path)
    assert "a reason" in stale(Fault("", "a.py", "x = 1", "x = 2"), tmp_path)
    assert "no test_b.py" in stale(Fault("", "a.py", "x = 1", "x = 2", ("test_b.py",)), tmp_path)


def test_the_killing_test_is_named() -> None:
    output = "F\n=== short test summary info ===\nFAILED tests/ops/test_x.py::test_y[1 - 2] - assert 1 == 2\n1 failed\n"
    assert noticed_by(output).startswith("ops/test_x.py::test_y[1")
    assert noticed_by("Segmentation fault\n") == "a test run that broke off"
