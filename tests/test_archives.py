"""Archives are read in one pass under limits, and what the hostile ones hold stays where it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.corpus.sources.archives import Bomb, is_archive, members
from stages.corpus.sources.members import Limits, Unreadable

LIMITS = Limits(file_bytes=10**8, total_bytes=10**8, files=1000, ratio=100)
PACKERS = {".tar": bytes, ".tar.gz": gzip.compress, ".tar.xz": lzma.compress, ".tar.bz2": bz2.compress}


def tar_bytes(files: Mapping[str, bytes], *more: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return out.getvalue()


def zip_bytes(files: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def read(folder: Path, name: str, data: bytes, limits: Limits = LIMITS) -> dict[str, Any]:
    """Path to content, or to why there is none."""
    path = folder / "archive"
    path.write_bytes(data)
    found: dict[str, Any] = {}
    for member in members(path, name, limits):
        try:
            found[member.path] = member.refused or b"".join(member.chunks())
        except Unreadable as error:
            found[member.path] = str(error)
    return found


FILES = {
    "a.py": b"a = 1\n",
    "deep/er/b.md": b"# B\n" * 70_000,
    "empty.txt": b"",
    "long/" + "n" * 180 + ".py": b"x" * 512,
}


@pytest.mark.parametrize("suffix", [*PACKERS, ".zip", ".whl"])
def test_every_kind_gives_its_files(tmp_path: Path, suffix: str) -> None:
    data = PACKERS[suffix](tar_bytes(FILES)) if suffix in PACKERS else zip_bytes(FILES)
    assert is_archive(f"x{suffix.upper()}")
    assert read(tmp_path, f"x{suffix}", data) == FILES


def test_only_archives_are_taken_for_archives() -> None:
    assert not any(is_archive(name) for name in ("a.pdf", "a.gz", "zip", "a.zip.md", "a.rar", "a.7z"))


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=40),
        st.binary(max_size=2000),
        max_size=6,
    ),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
@settings(max_examples=40, deadline=None)
def test_what_tarfile_writes_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], form: int
) -> None:  # fmt: skip
    files = {name: content for name, content in files.items() if name != "."}
    assert read(tmp_path_factory.mktemp("t"), "x.tar.gz", gzip.compress(tar_bytes(files, form=form))) == files


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_links_and_devices_in_a_tar_have_no_content(tmp_path: Path) -> None:
    data = tar_bytes(
        {"a.py": b"a"},
        special("out.py", tarfile.SYMTYPE, "/etc/passwd"), special("hard.py", tarfile.LNKTYPE, "../../etc/passwd"),
        special("near.py", tarfile.SYMTYPE, "a.py"), special("fifo", tarfile.FIFOTYPE),
        special("disk", tarfile.BLKTYPE), special("tty", tarfile.CHRTYPE), special("folder", tarfile.DIRTYPE),
    )  # fmt: skip
    assert read(tmp_path, "x.tar", data) == {
        "a.py": b"a", "out.py": "link", "hard.py": "link", "near.py": "link", "fifo": "device", "disk": "device",
        "tty": "device",
    }  # fmt: skip


def test_a_file_behind_a_link_to_elsewhere_keeps_its_plain_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tar_bytes({}, special("dir", tarfile.SYMTYPE, str(outside)))[:512] + tar_bytes({"dir/a.py": b"a"})
    assert read(tmp_path, "x.tar", data) == {"dir": "link", "dir/a.py": b"a"}
    assert not list(outside.iterdir())


def test_links_devices_and_secrets_in_a_zip_have_no_content(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, mode in (("link.py", 0o120777), ("fifo.py", 0o010644), ("disk.py", 0o060644), ("a.py", 0o100644)):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"/etc/passwd")
        archive.writestr("folder/", b"")
        archive.writestr("locked.py", b"x")
        archive.writestr(zipfile.ZipInfo("rare.py"), b"x" * 1000, zipfile.ZIP_LZMA)
    data = bytearray(out.getvalue())
    for head, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        name = 46 if head == b"PK\x01\x02" else 30
        at = data.find(b"locked.py") if head == b"PK\x03\x04" else data.rfind(b"locked.py")
        data[at - name + offset] |= 1
    assert read(tmp_path, "x.zip", bytes(data)) == {
        "link.py": "link", "fifo.py": "device", "disk.py": "device", "a.py": b"/etc/passwd", "locked.py": "encrypted",
        "rare.py": "rare compression",
    }  # fmt: skip


def test_names_come_as_they_are_for_the_taker_to_judge(tmp_path: Path) -> None:
    files = {"../a.py": b"1", "/b.py": b"2", "c/../../d.py": b"3"}
    assert read(tmp_path, "x.tar", tar_bytes(files)) == files
    assert read(tmp_path, "x.zip", zip_bytes(files)) == files
    assert read(tmp_path, "x.tar", tar_bytes({"./e//f.py": b"4"})) == {"e/f.py": b"4"}


@pytest.mark.parametrize("suffix", [*PACKERS, ".zip"])
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, suffix: str) -> None:
    files = {"zeros.txt": bytes(60_000_000)}
    data = PACKERS[suffix](tar_bytes(files)) if suffix in PACKERS else zip_bytes(files)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        by_size = Limits(10**9, 50_000_000, 1000, 10**9)
        with pytest.raises(Bomb, match="unpacks to more than 50 MB"):
            read_away(tmp_path, suffix, data, by_size)
        if suffix != ".tar":
            with pytest.raises(Bomb, match="unpacks to more than 100 times its"):
                read_away(tmp_path, suffix, data, LIMITS)
        assert tracemalloc.get_traced_memory()[1] - before < 12_000_000
    finally:
        tracemalloc.stop()


def read_away(folder: Path, suffix: str, data: bytes, limits: Limits) -> None:
    (folder / "archive").write_bytes(data)
    for member in members(folder / "archive", f"x{suffix}", limits):
        for _ in member.chunks():
            pass


def test_a_bomb_in_a_tar_counts_though_nobody_reads_it(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(gzip.compress(tar_bytes({"a.bin": bytes(40_000_000), "b.py": b""})))
    with pytest.raises(Bomb):
        for _ in members(tmp_path / "archive", "x.tar.gz", LIMITS):
            pass


def test_highly_repetitive_small_archives_are_no_bombs(tmp_path: Path) -> None:
    assert read(tmp_path, "x.tar.xz", lzma.compress(tar_bytes({"a.txt": bytes(5_000_000)})))


def test_many_entries_of_a_tar_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(gzip.compress(tar_bytes({f"{number}.py": b"" for number in range(5000)})))
    tracemalloc.start()
    try:
        assert sum(1 for _ in members(tmp_path / "archive", "x.tar.gz", replace(LIMITS, files=5000))) == 5000
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_too_many_entries_are_refused(tmp_path: Path, suffix: str) -> None:
    files = {f"{number}.py": b"" for number in range(1001)}
    data = gzip.compress(tar_bytes(files)) if suffix == ".tar.gz" else zip_bytes(files)
    with pytest.raises(Bomb, match="more than 1,000 entries"):
        read(tmp_path, f"x{suffix}", data)


def test_a_zip_directory_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    for claimed in (2_000_000, 0xFFFFFFFF):
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, claimed, 0, 0)
        with pytest.raises(Bomb, match="a directory of more than 1,000 entries"):
            read(tmp_path, "x.zip", bytes(2_000_000) + end)


def test_a_tar_header_that_claims_gigabytes_is_refused_before_they_are_read(tmp_path: Path) -> None:
    info = special("x", tarfile.XHDTYPE)
    info.size = 2**30
    head = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(StageError, match=r"cannot be read as an archive: a header of 1,073,741,824 bytes"):
        read(tmp_path, "x.tar", head + bytes(4096))


def test_a_sparse_file_is_not_inflated(tmp_path: Path) -> None:
    info = tarfile.TarInfo("holes.txt")
    told = {"major": "0", "minor": "1", "name": "holes.txt", "size": str(10**12), "map": "0,0", "numblocks": "1"}
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in told.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    assert read(tmp_path, "x.tar", out.getvalue()) == {"holes.txt": "sparse"}


def test_a_damaged_member_of_a_zip_costs_only_itself(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a.py": b"aaaa", "b.py": b"bbbb", "c.py": b"cccc"}, zipfile.ZIP_STORED))
    data[data.find(b"bbbb")] ^= 1
    assert read(tmp_path, "x.zip", bytes(data)) == {"a.py": b"aaaa", "b.py": "damaged in its archive", "c.py": b"cccc"}


@pytest.mark.parametrize("suffix", [*PACKERS, ".zip"])
@pytest.mark.parametrize("data", [b"", b"not an archive at all" * 100])
def test_what_is_no_archive_is_told(tmp_path: Path, suffix: str, data: bytes) -> None:
    with pytest.raises(StageError, match="cannot be read as an archive"):
        read(tmp_path, f"x{suffix}", data)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_damage_ends_in_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from([*PACKERS, ".zip"]))
    files = {"a.py": b"a = 1\n" * 50, "b/c.md": b"# C\n"}
    whole = bytearray(PACKERS[suffix](tar_bytes(files)) if suffix in PACKERS else zip_bytes(files))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        found = read(
            tmp_path_factory.mktemp("d"), f"x{suffix}", bytes(whole[:cut] if data.draw(st.booleans()) else whole)
        )
    except StageError:
        return
    assert all(isinstance(content, bytes | str) for content in found.values())
