import hashlib
import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bitspike import data
from bitspike.data import files
from bitspike.data.archives import digest, read_members
from bitspike.data.catalog import CATALOG, Archive, Entry
from bitspike.errors import DataError

MEMBERS = {"rec/b_1.dat": b"one", "rec/a_2.dat": b"", "rec/deep/c.dat": bytes(range(256))}
ARCHIVE = Archive("tiny.zip", ("rec",), r"rec/.*\.dat", n_members=3, n_bytes=259)
Pack = Callable[[Path, list[tuple[str, bytes]]], Path]


def zipped(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: list[tuple[str, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def plain_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    return tarred(path, members, "w")


def unpacked(path: Path, members: list[tuple[str, bytes]]) -> Path:
    for name, content in members:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


every_form = pytest.mark.parametrize("pack", [zipped, tarred, plain_tar, unpacked])
every_archive = pytest.mark.parametrize("pack", [zipped, tarred, plain_tar])


@every_form
def test_members_by_name_whatever_the_form(tmp_path: Path, pack: Pack) -> None:
    others = [("rec/readme.txt", b"x" * 99), ("rec/.hidden.dat", b"x"), ("rec/__MACOSX/d.dat", b"x")]
    members = read_members(ARCHIVE, pack(tmp_path / "x", [*MEMBERS.items(), *others]))
    assert members == MEMBERS
    assert list(members) == sorted(MEMBERS)


@every_archive
def test_leading_folders_are_cut(tmp_path: Path, pack: Pack) -> None:
    content = [(f"./set-1.0/{name}", member) for name, member in MEMBERS.items()]
    assert read_members(ARCHIVE, pack(tmp_path / "x", content)) == MEMBERS


def test_digest_is_what_sha256sum_prints() -> None:
    text = "".join(f"{hashlib.sha256(MEMBERS[name]).hexdigest()}  {name}\n" for name in sorted(MEMBERS))
    assert digest(MEMBERS) == hashlib.sha256(text.encode()).hexdigest()
    assert digest({**MEMBERS, "rec/b_1.dat": b"two"}) != digest(MEMBERS)


@every_archive
@pytest.mark.parametrize("name", ["/etc/x", "../x", "rec/../../x.dat", "..\\x", "C:/x", "rec\\..\\x", "\\x"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, pack: Pack, name: str) -> None:
    path = pack(tmp_path / "x", [*MEMBERS.items(), (name, b"x")])
    with pytest.raises(DataError, match="leads outside"):
        read_members(ARCHIVE, path)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x", "w:gz") as archive:
        info = tarfile.TarInfo("rec/link.dat")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="link or device"):
        read_members(ARCHIVE, tmp_path / "x")


def test_zip_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        info = zipfile.ZipInfo("rec/link.dat")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        read_members(ARCHIVE, tmp_path / "x")


@every_form
def test_wrong_sizes_and_counts_are_refused(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "x", list(MEMBERS.items()))
    with pytest.raises(DataError, match="more than 258 bytes"):
        read_members(replace(ARCHIVE, n_bytes=258), path)
    with pytest.raises(DataError, match=r"3 files of data.*has 4"):
        read_members(replace(ARCHIVE, n_members=4), path)


@every_archive
def test_repeated_names_are_refused(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "x", [*MEMBERS.items(), ("set/rec/b_1.dat", b"two")])
    with pytest.raises(DataError, match="twice"):
        read_members(replace(ARCHIVE, n_bytes=999), path)


@every_archive
@pytest.mark.parametrize("name", ["rec/big.dat", "big.txt"])
def test_bombs_cost_no_memory(tmp_path: Path, pack: Pack, name: str) -> None:
    path = pack(tmp_path / "x", [*MEMBERS.items(), (name, bytes(100_000_000))])
    if pack is zipped:  # the claimed size lies
        content = path.read_bytes()
        assert content.count((100_000_000).to_bytes(4, "little")) >= 1
        path.write_bytes(content.replace((100_000_000).to_bytes(4, "little"), (200).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        if pack is zipped and name == "big.txt":
            assert read_members(ARCHIVE, path) == MEMBERS  # never opened
        else:
            with pytest.raises(DataError, match=r"more than 259 bytes|damaged"):
                read_members(ARCHIVE, path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000


def test_encrypted_and_rarely_packed_zips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("rec/a.dat", bytes(200))
    with pytest.raises(DataError, match="method other than deflate"):
        read_members(ARCHIVE, path)
    content = bytearray(zipped(path, [("rec/a.dat", b"x")]).read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        read_members(ARCHIVE, path)


@every_archive
def test_cut_and_absent_files_are_refused(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "x", list(MEMBERS.items()))
    whole = path.read_bytes()
    for end in (0, 3, len(whole) // 8, len(whole) // 5):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=str(path)):
            read_members(ARCHIVE, path)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_members(ARCHIVE, path)


def test_catalogue_finds_archives_and_folders_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    (tmp_path / "packed" / "set").mkdir(parents=True)
    path = zipped(tmp_path / "packed" / "set" / "tiny.zip", list(MEMBERS.items()))
    known = replace(ARCHIVE, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), content=digest(MEMBERS))
    entry = Entry("tiny", "a test", "set", (known,), ("a", "b"), "none", "nowhere", kind="nmnist")
    monkeypatch.setitem(CATALOG, "tiny", entry)

    folder = unpacked(tmp_path / "unpacked" / "set", list(MEMBERS.items()))
    for root, place in (("packed", path), ("unpacked", folder), ("unpacked/set", folder)):
        assert data.get("tiny", tmp_path / root) == {"tiny.zip": place}
        assert files.read(entry, known, place) == (MEMBERS, digest(MEMBERS))
        assert [(c.path, c.ok) for c in data.verify("tiny", tmp_path / root)] == [(place, True)]
    (folder / "rec" / "b_1.dat").write_bytes(b"two")
    path.write_bytes(path.read_bytes() + b" ")
    for root in ("packed", "unpacked"):
        assert [c.ok for c in data.verify("tiny", tmp_path / root)] == [False]
        with pytest.raises(DataError, match="not that of tiny"):
            data.load("tiny", tmp_path / root)
    with pytest.raises(DataError, match=r"tiny.zip \(or rec/\) is not there"):
        data.load("tiny", tmp_path)
