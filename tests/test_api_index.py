"""The index of the API from small stubs written for this, and the one that ships from what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from stages.evaluation.api_index import INDEX, build

MACHINE = '''
"""Doc."""
from typing import Any, Final, Optional, TypeAlias, overload
from _mpy_shed import _IRQ, AnyReadableBuf
from os import listdir

_Ticks: TypeAlias = int
ID_T: TypeAlias = int | str
PWRON: Final[int] = 1
_hidden: int = 3

def freq() -> int: ...
def ticks() -> _Ticks: ...
def reset(): ...
def either() -> Optional[Pin]: ...
def uncertain() -> int | str: ...
def scan() -> list[bytes]: ...
async def later() -> Pin: ...
@overload
def told() -> bytes: ...
@overload
def told(n) -> None: ...

class Pin(Base):
    OUT: int = 1
    @property
    def mode(self) -> str: ...
    def value(self) -> int | None: ...
    def irq(self) -> _IRQ: ...
    def copy(self) -> "Pin": ...
    class board:
        LED: Pin

class Base:
    def off(self) -> None: ...

if sys.version_info >= (3, 9):
    class New: ...
else:
    OLD: int
'''


def write_wheel(folder: Path, name: str, files: dict[str, str], version: str = "1.2.post3") -> Path:
    root = folder / name
    info = root / f"{name.replace('-', '_')}-{version}.dist-info/METADATA"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n\nText: no field\n"
    for path, text in {**{root / path: text for path, text in files.items()}, info: about}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    library = tmp_path / "micropython-lib-abc123"
    for path, text in {
        "micropython/drivers/thing/manifest.py": "module('thing.py')\n",
        "micropython/drivers/thing/thing.py": "import time\nRATE = 3\nclass Thing:\n    def __init__(self):\n"
        "        self.a = self._b = 1\n    def read(self):\n        self.c = 2\n",
        "micropython/net/manifest.py": "",
        "micropython/net/umq/simple.py": "class Client: pass\n",
        "python-stdlib/logging/manifest.py": "",
        "python-stdlib/logging/logging.py": "def getLogger(): pass\n",
        "python-stdlib/logging/test_logging.py": "",
        "python-stdlib/os-path/manifest.py": "",
        "python-stdlib/os-path/os/path.py": "def join(): pass\n",
        "unix-ffi/fcntl/manifest.py": "",
        "unix-ffi/fcntl/fcntl.py": "",
    }.items():
        (library / path).parent.mkdir(parents=True, exist_ok=True)
        (library / path).write_text(text, encoding="utf-8")
    shed = {
        "_mpy_shed/__init__.pyi": "from .irqs import _IRQ as _IRQ\n",
        "_mpy_shed/irqs.pyi": "class _IRQ:\n    def flags(self) -> int: ...\n",
    }
    first = {
        "machine.pyi": MACHINE,
        "umachine.pyi": "from machine import *\n",
        "utime.pyi": "from time import *\n",
        "time.pyi": "def sleep(): ...\n",
    }
    other = {
        "machine.pyi": "class Pin:\n    OUT: int\n    def hold(self) -> None: ...\nclass DAC: ...\n",
        "esp.pyi": "def info(): ...\n",
    }
    return [
        write_wheel(tmp_path, "micropython-one-stubs", first),
        write_wheel(tmp_path, "micropython-two-stubs", other),
        write_wheel(tmp_path, "micropython-stdlib-stubs", {**shed, "stdlib/os/__init__.pyi": "def fork(): ...\n"}),
        library,
    ]


@pytest.fixture
def index(folders: list[Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(build(folders))
    return found


def test_names_are_told_with_their_kind_and_type(index: dict[str, Any]) -> None:
    names = index["modules"]["machine"]["names"]
    assert names == {
        "Base": "c:machine.Base", "DAC": "c:machine.DAC@two", "New": "c:machine.New", "OLD": "v:int", "PWRON": "v:int",
        "Pin": "c:machine.Pin", "either": "f:machine.Pin", "freq": "f:int", "later": "a:machine.Pin", "reset": "f:",
        "scan": "f:list[bytes]", "ticks": "f:int", "told": "f:bytes", "uncertain": "f:",
    }  # fmt: skip
    assert index["classes"]["machine.Pin"] == {
        "bases": ["machine.Base"],
        "names": {
            "OUT": "v:int", "board": "c:machine.Pin.board", "copy": "f:machine.Pin", "hold": "f:None@two",
            "irq": "f:_mpy_shed.irqs._IRQ", "mode": "v:str", "value": "f:int",
        },
    }  # fmt: skip
    assert index["classes"]["machine.Pin.board"] == {"names": {"LED": "v:machine.Pin"}, "open": True}
    assert index["classes"]["_mpy_shed.irqs._IRQ"] == {"names": {"flags": "f:int"}}


def test_modules_of_other_ports_and_of_micropython_lib_say_where_they_are(index: dict[str, Any]) -> None:
    modules = index["modules"]
    assert modules["esp"] == {"names": {"info": "f:"}, "ports": ["two"]}
    assert modules["logging"] == {"names": {}, "ports": ["micropython-lib"], "open": True}
    assert modules["thing"] == {
        "names": {"RATE": "v:", "Thing": "c:thing.Thing"}, "ports": ["micropython-lib"], "open": True,
    }  # fmt: skip
    assert set(index["classes"]["thing.Thing"]["names"]) == {"a", "c", "read"}
    assert modules["umq.simple"]["names"] == {"Client": "c:umq.simple.Client"} and modules["umq"]["open"]
    assert not {"fcntl", "os.path", "test_logging", "_mpy_shed"} & set(modules)


def test_the_core_is_ours_and_other_names_lead_to_modules(index: dict[str, Any]) -> None:
    assert "fork" not in index["modules"]["os"]["names"]
    assert index["modules"]["os"]["names"]["getenv"] == "f:@unix"
    assert index["classes"]["builtins.str"]["names"]["split"] == "f:list[str]"
    assert index["aliases"] == {"umachine": "machine", "utime": "time"}


def test_sources_are_named_and_the_same_folders_give_the_same_bytes(folders: list[Path], index: dict[str, Any]) -> None:
    assert [(s["name"], s["version"], s["license"]) for s in index["sources"][1:]] == [
        ("micropython-one-stubs", "1.2.post3", "MIT"), ("micropython-two-stubs", "1.2.post3", "MIT"),
        ("micropython-stdlib-stubs", "1.2.post3", "MIT"), ("micropython-lib", "abc123", "MIT"),
    ]  # fmt: skip
    assert build(folders) == build(folders)


def test_folders_that_hold_no_stubs_are_refused(tmp_path: Path, folders: list[Path]) -> None:
    with pytest.raises(UsageError, match="is no unpacked wheel of stubs"):
        build([tmp_path])
    with pytest.raises(UsageError, match="no stubs of a port"):
        build(folders[2:3])


def test_the_index_that_ships_has_the_core_as_it_is_written(index: dict[str, Any]) -> None:
    shipped = json.loads(INDEX.read_bytes())
    for name in (
        "builtins",
        "os",
        "sys",
        "io",
        "re",
        "json",
        "struct",
        "asyncio",
        "collections",
        "array",
        "ssl",
        "hashlib",
    ):
        assert shipped["modules"][name]["names"] == index["modules"][name]["names"], name
    for name, told in index["classes"].items():
        if name.partition(".")[0] in ("builtins", "os", "io", "asyncio", "re"):
            assert shipped["classes"][name] == told, name
