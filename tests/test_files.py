"""Files are the old version or the new one, in whatever way writing fails, and no link is followed."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import pytest

from bitspike.errors import BitspikeError
from bitspike.files import write_atomically


def test_write_then_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the file comes before the rename, fsync of the folder after it."""
    events: list[str] = []
    fsync, rename = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr("os.fsync", seen_fsync)
    monkeypatch.setattr("os.replace", seen_replace)
    write_atomically(tmp_path / "x", b"1")
    assert events == ["file", "rename", "folder"]
    assert (tmp_path / "x").read_bytes() == b"1"


@pytest.mark.parametrize("call", ["os.open", "os.fsync", "os.replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "model.bitspike"
    write_atomically(path, b"old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        with pytest.raises(
            BitspikeError, match=r"model\.bitspike: cannot write \(No space left.*Make room"
        ) as caught:
            write_atomically(path, b"new")
    assert not isinstance(caught.value, OSError)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "x", b"old")
    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"old")]


def test_a_missing_folder_costs_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match="cannot write"):
        write_atomically(tmp_path / "absent" / "x", b"1")


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_links_are_replaced_and_never_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, path = tmp_path / "victim", tmp_path / "x"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    write_atomically(path, b"1")
    assert (victim.read_bytes(), path.read_bytes(), path.is_symlink()) == (b"precious", b"1", False)
    monkeypatch.setattr(secrets, "token_hex", lambda n: "guessed")
    trap = tmp_path / ".x.guessed.tmp"
    trap.symlink_to(victim)
    with pytest.raises(BitspikeError, match="File exists"):
        write_atomically(path, b"2")
    assert (victim.read_bytes(), path.read_bytes(), trap.is_symlink()) == (b"precious", b"1", True)


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            write_atomically(tmp_path / f"{mask}", b"1")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"{mask}").stat().st_mode) == mode
