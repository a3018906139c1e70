"""Files are the old version or the new one, in whatever way writing fails, and no link is followed."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import pytest

from bitspike.errors import BitspikeError, DataError
from bitspike.files import parse_json, read_bytes, read_json, read_json_lines, write_atomically


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


def test_only_files_of_a_size_are_read(tmp_path: Path) -> None:
    file, pipe, link = (tmp_path / name for name in ("file", "pipe", "link"))
    file.write_bytes(b"12345")
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    assert read_bytes(file, 5) == b"12345"
    with pytest.raises(DataError, match="file: more than 4 bytes"):
        read_bytes(file, 4)
    for other in (pipe, link, tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=str(other)):
            read_bytes(other, 5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[NaN]", "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ("[1e999]", "1e999 is larger than any float"),
        ("9" * 5000, "digits"),
        ("[" * 65 + "]" * 65, "more than 64 lists"),
        ('{"a":' * 65 + "1" + "}" * 65, "more than 64 lists"),
        ("[" * 200_000, "more than 64 lists"),
        (b"\xff", "utf-8"),
    ],
)
def test_json_is_finite_and_shallow(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)
    file = tmp_path / "x.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"x\.json is not JSON: .*{reason}.*; buy another"):
        read_json(file, "buy another")
    assert parse_json("[" * 64 + "]" * 64)


def test_json_lines_may_be_cut_off_at_their_end_only(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    assert read_json_lines(file, "mend") == [{"a": 1}, {"a": 2}]
    for damaged, line in (('{"a": 1}\n{"a": \n{"a": 3}\n', 2), ("[1]\n", 1)):
        file.write_text(damaged)
        with pytest.raises(DataError, match=rf"x\.jsonl, line {line} is not .*; mend"):
            read_json_lines(file, "mend")
