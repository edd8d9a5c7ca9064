"""A new project: a config with every key explained, for a folder of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pipeline.config import SHIPPED_CONFIGS, Root
from pipeline.errors import UsageError
from pipeline.store import write_atomic

_NAME = re.compile(r"^name: \S+", re.MULTILINE)
_SOURCES = re.compile(r"^  sources:\n(?:    .*\n)+", re.MULTILINE)


def create(name: str, folder: Path, sources: str) -> Path:
    """Write `<name>.yaml` for the documents in `sources`; an existing file is never overwritten."""
    try:
        Root(name=name)
    except ValueError:
        raise UsageError(
            f"`{name}` cannot be a name: use lower-case letters, digits, `.`, `-` and `_`, a letter or digit first",
            hint="pipeline init my-model",
        ) from None
    path = folder / f"{name}.yaml"
    if path.exists():
        raise UsageError(f"{path} is there already", hint=f"pipeline run --config {path.name}")
    text = (SHIPPED_CONFIGS / "micropython.yaml").read_text(encoding="utf-8")
    source = (
        "  sources:\n"
        f"    - folder: {json.dumps(sources, ensure_ascii=False)}   # relative to this file\n"
        "      license: LicenseRef-mine   # an SPDX expression, carried to the model card\n"
        '      exclude: ["LICENSE*", "COPYING*", "NOTICE*"]   # patterns of paths that are not training text\n'
    )
    text = text.replace(text.partition("\n")[0], f"# pipeline run --config {path.name}", 1)
    text, named = _NAME.subn(f'name: "{name}"', text, count=1)
    text, replaced = _SOURCES.subn(lambda _: source, text, count=1)
    if not (named and replaced):
        raise UsageError(f"{SHIPPED_CONFIGS / 'micropython.yaml'} has no name or sources to replace")
    write_atomic(path, text.encode())
    (folder / sources).mkdir(parents=True, exist_ok=True)
    return path
