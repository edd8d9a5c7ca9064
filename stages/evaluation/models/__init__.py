"""Models that can be asked: files, folders and services behind one interface."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.store import Store
from stages.evaluation.models.interface import Model

CHECKPOINT = ("model.json", "model.safetensors")
KINDS = """a model is one of
  finetune, finetune/v0003      an artifact: weights of pretrain or finetune, or a release of convert or export
  path/to/model.gguf            a file for llama.cpp
  path/to/folder                a folder of HuggingFace, a checkpoint, or a release with its Modelfile
  ollama:NAME[@http://host:port]
  openai:NAME@http://host:port/v1"""


def open_model(spec: str, *, system: str | None = None, artifacts: Path = Path("artifacts")) -> Model:
    """The model that `spec` names, loaded or reached; KINDS says what can be named.

    `system` leads its chats in place of its own system message, none if it is empty. Raises UsageError for what names
    no model, and PipelineErrors of its kind where one cannot be had.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in ("ollama", "openai"):
        from stages.evaluation.models.served import open_served

        return open_served(kind, rest, system=system)
    if not spec.strip():
        raise UsageError("no model is named", hint=KINDS)
    path = Path(spec).expanduser()
    if path.is_file():
        return _open_file(path, system)
    if path.is_dir():
        return _open_folder(path, system)
    if path.suffix == ".gguf" or path.is_absolute() or spec.startswith((".", "~")):
        raise UsageError(f"there is no {spec}", hint=_neighbours(path) or KINDS)
    return _open_folder(_artifact(spec, Store(artifacts)), system)


def _open_file(path: Path, system: str | None) -> Model:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"GGUF":
        from stages.evaluation.models.gguf import GGUF

        return GGUF(path, system=system)
    if path.name in (*CHECKPOINT, "config.json", "Modelfile"):
        raise UsageError(f"{path} is a part of a model", hint=f"name its folder: {path.parent}")
    raise UsageError(f"{path} is no GGUF file", hint=KINDS)


def _open_folder(folder: Path, system: str | None) -> Model:
    if all((folder / name).is_file() for name in CHECKPOINT):
        from stages.evaluation.models.checkpoint import Checkpoint

        return Checkpoint(folder, system=system)
    if (folder / "config.json").is_file():
        from stages.evaluation.models.huggingface import HuggingFace

        return HuggingFace(folder, system=system)
    from stages.evaluation.models.beside import read_beside

    if beside := read_beside(folder):
        return _open_file(beside.gguf, system)
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if files:
        raise UsageError(
            f"{folder} holds {', '.join(files)} and no Modelfile that takes one", hint=f"{folder / files[0]}"
        )
    raise UsageError(
        f"{folder} holds no model: neither {' with '.join(CHECKPOINT)}, nor config.json, nor a GGUF file", hint=KINDS
    )


def _artifact(label: str, store: Store) -> Path:
    """The folder of an artifact; UsageError with the nearest label where there is none."""
    stage = label.partition("/")[0]
    if stage in store.stages():
        try:
            return store.by_label(label).path
        except UsageError:
            pass
    known = [artifact.label for each in store.stages() for artifact in store.versions(each)]
    heads = [text for each in known for text in (each, each.partition("-")[0], each.partition("/")[0])]
    near = get_close_matches(label, dict.fromkeys(heads), n=1)
    wrong = f"`{label}` is neither a file nor a folder, nor an artifact in {store.root}"
    raise UsageError(f"{wrong}; did you mean {near[0]}?" if near else wrong, hint=KINDS)


def _neighbours(path: Path) -> str | None:
    """The model files in the folder where one was looked for, nearest first."""
    names = [each.name for each in path.parent.glob(f"*{path.suffix}")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=3, cutoff=0.0)
    return f"there are {', '.join(near)} in {path.parent}" if near and path.suffix else None
