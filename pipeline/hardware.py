"""What this machine has: devices, memory, number formats. Answers without importing torch wherever that is possible."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

GPU_PROFILE, CPU_PROFILE = "gpu-12gb", "cpu"
GPU_PROFILE_BYTES = 10 * 2**30


@dataclass(frozen=True)
class Gpu:
    """A CUDA device as its driver reports it; `memory` in bytes."""

    name: str
    memory: int


def cuda_devices() -> list[Gpu]:
    """The CUDA devices, asked of the driver's library itself: importing torch for it would take seconds."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
        count, found = ctypes.c_int(), []
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
            return []
        for index in range(count.value):
            device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(128)
            cuda.cuDeviceGet(ctypes.byref(device), index)
            cuda.cuDeviceGetName(name, len(name), device)
            cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
            found.append(Gpu(name.value.decode(errors="replace"), memory.value))
        return found
    except (OSError, AttributeError):
        return []


def auto_profile() -> tuple[str, str]:
    """The profile that suits this machine, and why in a few words."""
    devices = cuda_devices()
    if not devices:
        return CPU_PROFILE, "no CUDA device"
    best = max(devices, key=lambda gpu: gpu.memory)
    told = f"{best.name}, {best.memory / 2**30:.0f} GiB"
    if best.memory < GPU_PROFILE_BYTES:
        return CPU_PROFILE, f"{told}: less than {GPU_PROFILE_BYTES / 2**30:.0f} GiB"
    torch = torch_version()
    if torch is None or "+cpu" in torch:
        why = f"torch {torch} was built without CUDA" if torch else "torch is not installed"
        return CPU_PROFILE, f"{told}, but {why}"
    return GPU_PROFILE, told


def torch_version() -> str | None:
    """The version of the installed torch, without importing it."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def usable_cores() -> int:
    """Cores this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Physical memory in bytes, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def free_bytes(path: Path) -> int:
    """Free disk space for a folder that may not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def describe() -> dict[str, str]:
    """The machine in words, for manifests."""
    devices = ", ".join(f"{gpu.name} ({gpu.memory / 2**30:.0f} GiB)" for gpu in cuda_devices())
    return {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": str(usable_cores()),
        "gpu": devices or "none",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def fast_bf16() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def cache_folder() -> Path:
    """`PIPELINE_CACHE`, or the folder for caches of this system."""
    if given := os.environ.get("PIPELINE_CACHE"):
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return base / "pipeline" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pipeline"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pipeline"
