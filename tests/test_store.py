"""The store: a reader sees a whole artifact or none, whatever happens to the writer."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import IntegrityError, UsageError
from pipeline.store import MANIFEST, Artifact, Store, canonical, sha256_file, write_atomic

if TYPE_CHECKING:
    from conftest import FaultyDisk

KEY = "ab12cd34" + "0" * 56
FILES = {"weights.bin": b"\x00\x01" * 500, "parts/one.txt": b"one", "parts/two.txt": b"", "parts/manifest.json": b"{}"}


def make(store: Store, key: str = KEY, files: Mapping[str, bytes] = FILES, stage: str = "train") -> Artifact:
    out = store.begin(stage, key, resume=False)
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    return store.commit(stage, key, {"seed": 1})


def content(artifact: Artifact) -> dict[str, bytes]:
    found = {path.relative_to(artifact.path).as_posix(): path for path in artifact.path.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != MANIFEST}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def test_a_committed_artifact_is_what_was_written(store: Store) -> None:
    artifact = make(store)
    (found,) = Store(store.root).versions("train")
    assert found == artifact
    assert (found.label, found.stage, found.size) == ("train/v0001-ab12cd34", "train", 1005)
    assert content(found) == FILES
    assert found.problems() == [] and store.verify() == [] and store.partials() == []
    assert found.manifest["seed"] == 1
    assert found.manifest["files"]["parts/one.txt"] == {"sha256": hashlib.sha256(b"one").hexdigest(), "size": 3}


names = st.lists(st.sampled_from(["a", "b.txt", "a-b", "a.b", "Z", "é", "manifest.json"]), min_size=1, max_size=2)
trees = st.dictionaries(names.map("/".join), st.binary(max_size=5), max_size=5).filter(
    lambda files: (
        not any(name.split("/")[0] == MANIFEST for name in files)
        and not any(f"{name}/" in other for name in files for other in files)
    )
)


@given(files=trees)
@settings(max_examples=25, deadline=None)
def test_the_digest_is_the_sha256_of_the_sorted_names_checksums_and_sizes(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    artifact = make(Store(tmp_path_factory.mktemp("store")), files=files)
    rows = [f'["{name}","{hashlib.sha256(files[name]).hexdigest()}",{len(files[name])}]' for name in sorted(files)]
    assert artifact.digest == hashlib.sha256(f"[{','.join(rows)}]".encode()).hexdigest()


def test_the_same_files_give_the_same_digest_under_another_key(store: Store) -> None:
    first, second = make(store, "1" * 64), make(store, "2" * 64)
    other = make(store, "3" * 64, {**FILES, "parts/two.txt": b"."})
    assert first.digest == second.digest != other.digest


def test_versions_count_up_and_no_number_comes_back(store: Store) -> None:
    made = [make(store, digit * 64) for digit in "123"]
    assert [artifact.name[:5] for artifact in made] == ["v0001", "v0002", "v0003"]
    store.remove(made[0].path)
    assert make(store, "1" * 64).name == "v0004-11111111"
    (store.root / "train" / "v0004-11111111").rename(store.root / "train" / "v9999-11111111")
    assert make(store, "5" * 64).name == "v10000-55555555"
    newest = store.newest("train")
    assert newest is not None and newest.name == "v10000-55555555"
    assert [artifact.name[:6] for artifact in store.versions("train")] == ["v0002-", "v0003-", "v9999-", "v10000"]


def test_artifacts_of_a_key_come_newest_first(store: Store) -> None:
    made = [make(store, key) for key in ("1" * 64, "2" * 64, "1" * 64)]
    assert store.with_key("train", "1" * 64) == [made[2], made[0]]
    assert store.with_key("train", "9" * 64) == []


@pytest.mark.parametrize(
    ("label", "index"),
    [("train", 1), ("train/v0001", 0), ("train/v0002", 1), ("train/v0001-11111111", 0)],
)
def test_a_label_names_an_artifact(store: Store, label: str, index: int) -> None:
    made = [make(store, digit * 64) for digit in "12"]
    assert store.by_label(label) == made[index]


@pytest.mark.parametrize("label", ["tain", "train/v0003", "train/v0001-2222", "train/v00011", ""])
def test_an_unknown_label_is_a_usage_error(store: Store, label: str) -> None:
    make(store, "1" * 64)
    with pytest.raises(UsageError, match="no artifact"):
        store.by_label(label)


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def edit_manifest(path: Path) -> None:
    told = json.loads((path / MANIFEST).read_bytes())
    told["files"]["weights.bin"]["sha256"] = "0" * 64
    (path / MANIFEST).write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: flip(path / "weights.bin"), "weights.bin does not match its checksum"),
        (lambda path: (path / "weights.bin").write_bytes(b"0"), "weights.bin has 1 bytes, not 1000"),
        (lambda path: (path / "parts" / "one.txt").unlink(), "parts/one.txt is missing"),
        (edit_manifest, "manifest.json does not match its own digest"),
        (lambda path: (path / MANIFEST).unlink(), "manifest.json cannot be read"),
        (lambda path: (path / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda path: (path / MANIFEST).write_text("[]"), "manifest.json cannot be read"),
        (lambda path: (path / MANIFEST).write_text("{}"), "manifest.json cannot be read"),
    ],
)
def test_every_damage_is_found_and_named(store: Store, damage: Any, told: str) -> None:
    artifact = make(store)
    make(store, "2" * 64)
    damage(artifact.path)
    assert store.verify()[0] == f"{artifact.label}: {told}"
    assert not any("v0002" in line for line in store.verify())


def test_folders_that_are_no_artifacts_are_passed_over(store: Store) -> None:
    assert store.versions("train") == [] and store.stages() == [] and store.runs() == []
    for name in ("v0001", "v1-ab12cd34", "v0001-ab12cd34x", ".partial-ab12", "notes"):
        (store.root / "train" / name).mkdir(parents=True)
    assert store.versions("train") == []
    assert make(store).name.startswith("v0001")


def no_space() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def assert_only_whole_artifacts(store: Store, most: int) -> None:
    found = store.versions("train")
    assert len(found) <= most
    assert store.verify() == []
    for artifact in found:
        assert content(artifact) == FILES


def test_a_disk_that_is_full_at_any_step_leaves_no_half_artifact(store: Store, faulty_disk: type[FaultyDisk]) -> None:
    with faulty_disk(0) as disk:
        make(store)
    refused = 0
    for at in range(1, disk.count + 1):
        before = len(store.versions("train"))
        with faulty_disk(at):
            try:
                make(store)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                refused += 1
        assert_only_whole_artifacts(store, before + 1)
        make(store)
        assert_only_whole_artifacts(store, before + 2)
        assert store.partials() == []
    assert refused > 12


@contextmanager
def forked(work: Callable[[int], None]) -> Iterator[tuple[int, BinaryIO]]:
    """A child process that does `work(descriptor)`, and a file with what it writes there."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child uses none
        pid = os.fork()
    if not pid:
        with suppress(BaseException):
            work(writer)
            os._exit(0)
        os._exit(1)
    os.close(writer)
    with open(reader, "rb") as told:  # noqa: PTH123
        yield pid, told


def test_a_kill_at_any_step_leaves_no_half_artifact_and_the_next_try_succeeds(
    tmp_path: Path, faulty_disk: type[FaultyDisk]
) -> None:
    def make_until_killed(_: int) -> None:
        with faulty_disk(killed + 1, kill_me):
            make(store)

    killed = 0
    while True:
        store = Store(tmp_path / f"{killed}")
        with forked(make_until_killed) as (pid, _):
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert_only_whole_artifacts(store, 1)
        assert content(make(store)) == FILES
        assert store.partials() == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert killed > 12


def test_kills_at_random_moments_leave_no_half_artifact(store: Store) -> None:
    def make_forever(descriptor: int) -> None:
        for number in itertools.count():
            os.write(descriptor, f"{make(store, f'{number:064x}').label}\n".encode())

    drawn = random.Random(5)
    told: list[str] = []
    for _ in range(20):
        with forked(make_forever) as (pid, lines):
            told.append(lines.readline().decode().strip())
            time.sleep(drawn.uniform(0, 0.03))
            os.kill(pid, signal.SIGKILL)
            told += lines.read().decode().split()
            os.waitpid(pid, 0)
    there = store.versions("train")
    assert_only_whole_artifacts(store, len(told) + 20)
    assert set(told) <= {artifact.label for artifact in there}
    assert [int(artifact.name[1:5]) for artifact in there] == list(range(1, len(there) + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_everything_is_on_the_disk_before_the_rename_that_shows_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    partial = store.partial("train", KEY)
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def note(name: str, path: Any) -> None:
        steps.append(f"{name} {Path(path).resolve().relative_to(store.root.resolve())}")

    monkeypatch.setattr(os, "fsync", lambda fd: (note("sync", Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd)))
    monkeypatch.setattr(os, "rename", lambda old, new: (note("rename", new), rename(old, new)))
    monkeypatch.setattr(os, "replace", lambda old, new: (note("replace", new), replace(old, new)))
    make(store)
    here = f"train/{partial.name}"
    manifest = steps.index(f"replace {here}/{MANIFEST}")
    final = steps.index("rename train/v0001-ab12cd34")
    before = {f"sync {here}{name}" for name in ("", "/parts", *(f"/{file}" for file in FILES))}
    assert before <= set(steps[:manifest])
    assert any(step.startswith(f"sync {here}/.{MANIFEST}") for step in steps[:manifest])
    assert f"sync {here}" in steps[manifest:final]
    assert steps[final + 1 :] == ["sync train"]


def test_a_resumed_try_keeps_its_files_and_a_fresh_one_starts_empty(store: Store) -> None:
    (store.begin("train", KEY, resume=True) / "half").write_text("x")
    assert [path.name for path in store.begin("train", KEY, resume=True).iterdir()] == ["half"]
    assert list(store.begin("train", KEY, resume=False).iterdir()) == []
    assert store.partials() == [store.partial("train", KEY)]


def test_what_a_cut_off_commit_left_does_not_get_into_the_artifact(store: Store) -> None:
    out = store.begin("train", KEY, resume=True)
    (out / "weights.bin").write_bytes(b"1")
    (out / f".{MANIFEST}.4711.tmp").write_text("{")
    (out / MANIFEST).write_text("{}")
    assert set(store.commit("train", KEY, {}).manifest["files"]) == {"weights.bin"}


def test_an_artifact_is_removed_from_sight_in_one_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make(store)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="cut off"):
        patched.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(OSError("cut off")))
        store.remove(artifact.path)
    assert store.versions("train") == [] and store.verify() == []
    again = make(store)
    assert again.name == artifact.name
    store.remove(again.path)
    assert [path.name for path in (store.root / "train").iterdir()] == []


def test_nothing_outside_the_store_is_removed(store: Store, tmp_path: Path) -> None:
    make(store)
    for path in (tmp_path, store.root, store.root / "train", store.root / "train" / ".." / ".." / "x"):
        with pytest.raises(IntegrityError):
            store.remove(path)
    assert len(store.versions("train")) == 1


@contextmanager
def held_elsewhere(store: Store) -> Iterator[subprocess.Popen[str]]:
    code = "import sys, time; from pathlib import Path; from pipeline.store import Store\n"
    code += "with Store(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_second_process_is_refused_with_the_holders_name(store: Store) -> None:
    with held_elsewhere(store) as child:
        assert f"process {child.pid} on" in (store.holder() or "")
        with (
            pytest.raises(UsageError, match=rf"in use by process {child.pid} on .* since .*: -c") as caught,
            store.lock(),
        ):
            pass
        assert caught.value.hint


def test_a_killed_holder_frees_the_lock_and_is_no_longer_named(store: Store) -> None:
    with held_elsewhere(store) as child:
        child.kill()
        child.wait()
        assert (store.root / ".lock.json").exists()
        assert store.holder() is None
        with store.lock():
            assert f"process {os.getpid()} on" in (store.holder() or "")
    assert store.holder() is None


def test_the_lock_is_freed_by_an_error_and_held_on_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError), store.lock():
        raise RuntimeError
    with monkeypatch.context() as full:
        full.setattr("pipeline.store.write_atomic", lambda path, data: no_space())
        with store.lock(), pytest.raises(UsageError, match="in use by another process"), store.lock():
            pass
    with store.lock():
        assert store.holder()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, faulty_disk: type[FaultyDisk]) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError) as caught:
            write_atomic(path, b"new" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"state.json": b"old"}
    for at in range(1, 9):
        with faulty_disk(at) as disk:
            try:
                write_atomic(path, b"new")
                break
            except OSError:
                assert [file.name for file in tmp_path.iterdir()] == ["state.json"]
                assert path.read_bytes() in (b"old", b"new")
    assert disk.count == 4 and path.read_bytes() == b"new"


def test_run_records_come_back_oldest_first(store: Store) -> None:
    for number in (2, 10, 1):
        store.write_run({"run": number, "outcome": "running"})
    store.write_run({"run": 2, "outcome": "ok"})
    (store.runs_folder / "000003.json").write_text("{")
    assert [(record["run"], record["outcome"]) for record in store.runs()] == [
        (1, "running"),
        (2, "ok"),
        (10, "running"),
    ]
    assert store.stages() == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(part) for key, part in reversed(value.items())}
    return [reordered(part) for part in value] if isinstance(value, list) else value


@given(value=values)
@settings(max_examples=60, deadline=None)
def test_canonical_bytes_know_no_key_order_and_lose_nothing(value: Any) -> None:
    assert canonical(value) == canonical(reordered(value))
    assert json.loads(canonical(value)) == value


@given(data=st.binary(max_size=300))
@settings(max_examples=20, deadline=None)
def test_the_checksum_of_a_file_is_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("sum") / "file"
    path.write_bytes(data)
    assert sha256_file(path) == hashlib.sha256(data).hexdigest()
