"""A run folder belongs to one process at a time."""

from dataclasses import replace

import pytest

from bitspike.errors import BackendError, UsageError
from bitspike.experiment import Training
from bitspike.recipes.bnn import bnn_digits
from bitspike.training import RunFolder, resume, train

SHORT = replace(bnn_digits, training=Training(epochs=1, batch_size=50))


def test_a_folder_that_another_one_owns_is_refused_and_left_alone(tmp_path):
    result = train(SHORT, tmp_path / "run", progress=False)
    before = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    with RunFolder(result.folder).owned():
        with pytest.raises(UsageError, match="another process trains this run"):
            resume(result.folder, progress=False)
        with (
            pytest.raises(UsageError, match="another process trains this run"),
            RunFolder(result.folder).owned(),
        ):
            pass
    assert {path.name: path.read_bytes() for path in result.folder.iterdir()} == before
    assert resume(result.folder, progress=False).evaluation == result.evaluation


def test_of_two_that_begin_in_one_folder_one_is_refused(tmp_path):
    with RunFolder(tmp_path / "run").owned(), pytest.raises(UsageError, match="another process"):
        train(SHORT, tmp_path / "run", progress=False)
    assert train(SHORT, tmp_path / "run", progress=False).folder == tmp_path / "run"


def test_names_stay_below_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("../out", "/tmp/out", "a/b", ".hidden"):
        with pytest.raises(UsageError, match="use no separators"):
            train(replace(SHORT, name=name), progress=False)
    assert not list(tmp_path.iterdir())


def test_a_run_that_never_began_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError):
        train(replace(SHORT, device="cuda:7"), progress=False)
    assert not list((tmp_path / "runs").iterdir())


def test_a_finished_run_is_only_read(tmp_path, monkeypatch):
    result = train(SHORT, tmp_path / "run", progress=False)
    before = {path.name: path.read_bytes() for path in result.folder.iterdir()}

    def read_only(*arguments, **named):
        raise OSError(30, "Read-only file system")

    for call in ("os.replace", "os.fsync"):
        monkeypatch.setattr(call, read_only)
    assert resume(result.folder, progress=False).evaluation == result.evaluation
    assert {path.name: path.read_bytes() for path in result.folder.iterdir()} == before
