"""What the machine has, against what the system says elsewhere, and which profile follows from it."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pipeline import hardware
from pipeline.hardware import Gpu

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
BIG, SMALL = Gpu("RTX 3060", 12 * 2**30), Gpu("GT 1030", 2 * 2**30)


@pytest.mark.parametrize(
    ("devices", "torch", "profile", "why"),
    [
        ([], "2.13.0", "cpu", "no CUDA device"),
        ([SMALL, BIG], "2.13.0", "gpu-12gb", "RTX 3060, 12 GiB"),
        ([SMALL], "2.13.0", "cpu", "GT 1030, 2 GiB: less than 10 GiB"),
        ([BIG], "2.13.0+cpu", "cpu", "RTX 3060, 12 GiB, but torch 2.13.0+cpu was built without CUDA"),
        ([BIG], None, "cpu", "RTX 3060, 12 GiB, but torch is not installed"),
    ],
)
def test_auto_takes_the_profile_that_the_hardware_can_run(
    monkeypatch: pytest.MonkeyPatch, devices: list[Gpu], torch: str | None, profile: str, why: str
) -> None:
    monkeypatch.setattr(hardware, "cuda_devices", lambda: devices)
    monkeypatch.setattr(hardware, "torch_version", lambda: torch)
    assert hardware.auto_profile() == (profile, why)


class Driver:
    """Answers like libcuda: every function writes through its pointer and returns an error code."""

    def __init__(self, gpus: list[Gpu], error: int = 0) -> None:
        self.gpus, self.error = gpus, error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = self.gpus[device.value].name.encode()[: size - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = self.gpus[device.value].memory
        return 0


def test_the_driver_is_asked_for_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver([SMALL, BIG]))
    assert hardware.cuda_devices() == [SMALL, BIG]
    assert hardware.describe()["gpu"] == "GT 1030 (2 GiB), RTX 3060 (12 GiB)"


def missing(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize("library", [missing, lambda name: Driver([BIG], error=100), lambda name: object()])
def test_without_a_working_driver_there_is_no_device(
    monkeypatch: pytest.MonkeyPatch, library: Callable[[str], Any]
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert hardware.cuda_devices() == []
    assert hardware.describe()["gpu"] == "none"


def test_the_devices_are_those_torch_sees() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    seen = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    assert [gpu.name for gpu in hardware.cuda_devices()] == [one.name for one in seen]
    assert [gpu.memory for gpu in hardware.cuda_devices()] == [one.total_memory for one in seen]


@linux
def test_cores_are_those_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert hardware.usable_cores() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert hardware.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@linux
def test_memory_is_what_the_kernel_says() -> None:
    told = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    assert told is not None and hardware.memory_bytes() == pytest.approx(int(told[1]) * 1024, rel=0.01)


def test_free_space_is_asked_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    told = os.statvfs(tmp_path)
    free = hardware.free_bytes(tmp_path / "not" / "there" / "yet")
    assert free == pytest.approx(told.f_bavail * told.f_frsize, rel=0.05)


@pytest.mark.parametrize(
    ("flags", "fast"), [("fpu avx512_bf16 sse", True), ("amx_bf16", True), ("avx512f avx2", False), (None, False)]
)
def test_bf16_is_fast_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str | None, fast: bool
) -> None:
    if flags:
        (tmp_path / "cpuinfo").write_text(f"model name\t: Some Processor\nflags\t\t: {flags}\n")
    monkeypatch.setattr(hardware, "Path", lambda name: tmp_path / "cpuinfo")
    assert hardware.fast_bf16() is fast
    assert hardware.describe()["processor"] == (
        "Some Processor" if flags else platform.processor() or platform.machine()
    )


def test_the_description_is_all_words() -> None:
    told = hardware.describe()
    assert (told["python"], told["cores"]) == (platform.python_version(), str(hardware.usable_cores()))
    assert all(isinstance(value, str) and value for value in told.values())


def test_the_version_of_torch_is_known_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.torch_version() == metadata.version("torch")

    def gone(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", gone)
    assert hardware.torch_version() is None
