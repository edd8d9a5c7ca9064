"""YAML to a frozen, typed configuration; every error at once, each with file, line and column."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError, UsageError
from pipeline.shards import Engine
from pipeline.stage import Road, Section
from pipeline.yamlreader import KeyPath, Mark, YamlReader

MAX_BYTES = 1_000_000
SHIPPED_CONFIGS = Path(__file__).resolve().parents[1] / "configs"


class Root(BaseModel):
    """The keys of a config that belong to no section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1337
    engine: Engine = "local"
    workers: Annotated[int, Field(ge=0, le=4096)] = 0
    until: str | None = None


@dataclass(frozen=True)
class Config:
    """A resolved configuration.

    `sections` holds one frozen section per name, `origins` says for each `section.key` where its value comes from
    (`default`, `file:line`, or `--set`), and `base` is the folder that relative paths in the config start from.
    `until` names the last stage of `run`. It, `engine` and `workers` change no byte of what a stage makes, so that no
    artifact depends on them.
    """

    path: Path
    base: Path
    name: str
    seed: int
    engine: Engine
    workers: int
    until: str | None
    profile: str | None
    sections: Mapping[str, Section]
    origins: Mapping[str, str]
    overrides: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """The whole configuration as plain JSON values."""
        dumped = {name: section.model_dump(mode="json") for name, section in self.sections.items()}
        how = {"engine": self.engine, "workers": self.workers, "until": self.until}
        return {"name": self.name, "seed": self.seed, **how, **dumped}


def find_config(name: str) -> Path:
    """The config file for a path, or for a bare name in the working folder, `configs/`, or the shipped configs.

    Raises UsageError naming the places searched and the configs that exist.
    """
    given = Path(name)
    names = [given] if given.suffix in (".yaml", ".yml") else [given, given.with_name(given.name + ".yaml")]
    folders = [Path()] if len(given.parts) > 1 else [Path(), Path("configs"), SHIPPED_CONFIGS]
    for folder in folders:
        for candidate in names:
            if (folder / candidate).is_file():
                return folder / candidate
    known = sorted({path.name for folder in folders for path in folder.glob("*.yaml")})
    found = f"; found there: {', '.join(known)}" if known else ""
    places = ", ".join(str(folder.resolve()) for folder in folders)
    raise UsageError(f"no config `{name}` in {places}{found}", hint="pipeline init NAME  writes a new config")


def load_config(
    path: Path, road: Road, *, profile: str = "auto", overrides: Sequence[str] = (), detect: str | None = None
) -> Config:
    """Read, merge and check a config: defaults, the file it extends, the file, the profile, then `--set` overrides.

    `detect` is the profile that `auto` stands for on this machine. Raises ConfigError with every error found.
    """
    errors: list[str] = []
    data, marks = _read_chain(path, errors)
    profiles = data.pop("profiles", None) or {}
    if not isinstance(profiles, dict):
        raise ConfigError([f"{marks[('profiles',)].at_value()}: profiles: has to be a mapping of profile names"])
    schema = {name: model for stage in road for name, model in stage.sections.items()}
    stages = [stage.name for stage in road]

    layers = [_override(text) for text in overrides]
    errors += [error for layer in layers for error in layer.errors]
    unread = {_place(error) for error in errors}
    chosen = _choose_profile(profile, profiles, detect, path)
    for name in [*profiles, *([] if chosen else [None])]:
        merged, merged_marks = json.loads(json.dumps(data)), dict(marks)
        if name is not None:
            _make_way(merged, merged_marks, profiles[name], schema)
            _overlay(merged, merged_marks, profiles[name], marks, ("profiles", name), errors)
        for layer in layers if name == chosen else ():
            _make_way(merged, merged_marks, layer.data, schema)
            _overlay(merged, merged_marks, layer.data, layer.marks, (), errors)
        root, sections, found = _validate(merged, merged_marks, schema, stages, str(path))
        errors += [error for error in found if _place(error) not in unread]
        if name == chosen:
            result = root, sections, merged_marks
    if errors:
        asked = ["--config", str(path), *([] if profile == "auto" else ["--profile", profile])]
        asked += [word for override in overrides for word in ("--set", override)]
        of_the_command = all(error.startswith("--set ") for error in errors)
        hint = None if of_the_command else shlex.join(["pipeline", "validate", *asked])
        raise ConfigError(list(dict.fromkeys(errors)), hint=hint)

    root, sections, used = result
    assert root is not None
    folder = path.resolve().parent
    return Config(
        path=path,
        base=folder.parent if folder.name == "configs" else folder,
        name=root.name,
        seed=root.seed,
        engine=root.engine,
        workers=root.workers,
        until=root.until,
        profile=chosen,
        sections=sections,
        origins=dict(_origins(root, sections, used)),
        overrides=tuple(overrides),
    )


def _read_chain(
    path: Path, errors: list[str], extending: tuple[Path, ...] = ()
) -> tuple[dict[str, Any], dict[KeyPath, Mark]]:
    """The values of a file over those of the file that its `extends` names, with where each stands."""
    reader = _read_file(path)
    errors += reader.errors
    if reader.data is not None and not isinstance(reader.data, dict):
        errors.append(f"{path}:1:1: a config is a mapping of sections")
    if errors and not isinstance(reader.data, dict):
        raise ConfigError(errors, hint=f"pipeline validate --config {path}")
    own: dict[str, Any] = dict(reader.data or {})
    parent = own.pop("extends", None)
    if parent is None:
        return own, dict(reader.marks)
    place = reader.marks["extends",].at_value()
    if not isinstance(parent, str):
        raise ConfigError([f"{place}: extends: has to be the name of a config"])
    found = next((folder / parent for folder in (path.parent, SHIPPED_CONFIGS) if (folder / parent).is_file()), None)
    if found is None:
        raise ConfigError([f"{place}: extends: no file `{parent}` in {path.parent.resolve()} or {SHIPPED_CONFIGS}"])
    chain = (*extending, path.resolve())
    if found.resolve() in chain:
        raise ConfigError([f"{place}: extends: `{parent}` extends this file itself"])
    data, marks = _read_chain(found, errors, chain)
    _overlay(data, marks, own, reader.marks, (), errors)
    return data, marks


def _place(error: str) -> str:
    return error.partition(": ")[0]


def _read_file(path: Path) -> YamlReader:
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ConfigError([f"{path}:1:1: {len(raw):,} bytes; a config has at most {MAX_BYTES:,}"])
        return YamlReader(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8").split("\n")
        raise ConfigError([f"{path}:{len(before)}:{len(before[-1]) + 1}: not UTF-8 text"]) from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="pipeline init NAME  writes a new config") from None


def _override(text: str) -> YamlReader:
    """`a.b=value` as a layer of data whose marks name the argument."""
    keys, equals, value = text.partition("=")
    place = f"--set {text}"
    path = tuple(part.strip() for part in keys.split("."))
    if not equals or not all(path):
        reader = YamlReader("", place, located=False)
        reader.errors.append(f"{place}: write it as section.key=value")
        reader.data = {}
        return reader
    reader = YamlReader(value or '""', place, located=False)
    marks = {(*path, *sub): mark for sub, mark in reader.marks.items()}
    marks |= {path[: depth + 1]: Mark(place) for depth in range(len(path))}
    reader.marks = marks
    for key in reversed(path):
        reader.data = {key: reader.data}
    return reader


def _choose_profile(profile: str, profiles: Mapping[str, Any], detect: str | None, path: Path) -> str | None:
    if profile == "auto":
        return detect if detect in profiles else next(iter(profiles), None)
    if profile not in profiles:
        near = difflib.get_close_matches(profile, profiles, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"it has: {', '.join(profiles) or 'none'}, and auto"
        raise ConfigError([f"{path}:1:1: no profile `{profile}`; {hint}"])
    return profile


def _make_way(
    data: dict[str, Any], marks: dict[KeyPath, Mark], patch: Any, schema: Mapping[str, type[Section]]
) -> None:
    """Take out of `data` what a setting of `patch` stands for, as a preset does for sizes."""
    for name, part in patch.items() if isinstance(patch, dict) else ():
        below = data.get(name)
        if name not in schema or not isinstance(part, dict) or not isinstance(below, dict):
            continue
        for key, value in part.items():
            for replaced in schema[name].replaced_by(key, value):
                below.pop(replaced, None)
                marks.pop((name, replaced), None)


def _overlay(
    data: dict[str, Any],
    marks: dict[KeyPath, Mark],
    patch: Any,
    patch_marks: Mapping[KeyPath, Mark],
    prefix: KeyPath,
    errors: list[str],
) -> None:
    """Lay `patch` over `data`: mappings merge key by key, everything else replaces."""
    if not isinstance(patch, dict):
        if patch is not None:
            name = ".".join(str(part) for part in prefix)
            errors.append(f"{patch_marks[prefix].at_value()}: {name}: has to be a mapping of sections")
        return

    def lay(target: dict[str, Any], part: dict[str, Any], path: KeyPath) -> None:
        for key, value in part.items():
            here = (*path, key)
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                lay(target[key], value, here)
                continue
            target[key] = value
            for old in [known for known in marks if known[: len(here)] == here]:
                del marks[old]
            start = (*prefix, *here)
            for known, mark in patch_marks.items():
                if known[: len(start)] == start:
                    marks[known[len(prefix) :]] = mark

    lay(data, patch, ())


def _validate(
    data: dict[str, Any],
    marks: Mapping[KeyPath, Mark],
    schema: Mapping[str, type[Section]],
    stages: Sequence[str],
    place: str,
) -> tuple[Root | None, dict[str, Section], list[str]]:
    errors: list[str] = []
    sections: dict[str, Section] = {}
    root: Root | None = None
    for key in data:
        if key == "profiles":
            errors.append(f"{marks[(key,)].at_key()}: `profiles` belongs at the top of the file, and nowhere else")
        elif key not in schema and key not in Root.model_fields:
            known = [*schema, *Root.model_fields, "extends", "profiles"]
            errors.append(f"{marks[(key,)].at_key()}: unknown section `{key}`{_nearest(key, known)}")
    try:
        root = Root.model_validate_json(json.dumps({key: data[key] for key in Root.model_fields if key in data}))
    except ValidationError as error:
        errors += _explain(error, (), marks, place, schema)
    if root and root.until is not None and root.until not in stages:
        told = f"until: no stage `{root.until}`{_nearest(root.until, stages)}"
        errors.append(f"{marks[('until',)].at_value()}: {told}")
    for name, model in schema.items():
        given = data.get(name)
        try:
            sections[name] = model.model_validate_json(json.dumps({} if given is None else given))
        except ValidationError as error:
            errors += _explain(error, (name,), marks, place, schema)
    return root, sections, errors


def _explain(
    error: ValidationError,
    prefix: KeyPath,
    marks: Mapping[KeyPath, Mark],
    place: str,
    schema: Mapping[str, type[Section]],
) -> Iterator[str]:
    details = error.errors()
    for detail in details:
        loc, kind, message = detail["loc"], detail["type"], detail["msg"]
        if kind == "too_short" and any(other["loc"][: len(loc)] == loc != other["loc"] for other in details):
            continue  # only because its items are wrong
        keys = (*prefix, *loc, *([detail["ctx"]["key"]] if kind == "section" else []))
        full = path = tuple(_without_tags(keys, marks))
        while path and path not in marks and kind != "missing":
            path = path[:-1]
        name = ".".join(str(part) for part in (full if kind == "section" else path))
        if kind == "extra_forbidden":
            key = str(path[-1])
            yield f"{marks[path].at_key()}: unknown key `{name}`{_suggest(key, path, schema)}"
        elif kind == "missing":
            parent = marks.get(path[:-1])
            yield f"{parent.at_value() if parent else place + ':1:1'}: `{name}` is missing"
        else:
            given = detail["input"]
            plain = kind != "section" and not isinstance(given, dict | list)
            shown = f", not {json.dumps(given, ensure_ascii=False)}" if plain else ""
            message = message.removeprefix("Input ").removeprefix("Value error, ")
            where = marks[path].at_value() if path in marks else f"{place}:1:1"
            yield f"{where}: {name}: {message}{shown}"


def _suggest(key: str, path: KeyPath, schema: Mapping[str, type[Section]]) -> str:
    models = [model for name, model in schema.items() if name == path[0]]
    for part in path[1:-1]:
        if isinstance(part, str):
            fields = [model.model_fields[part] for model in models if part in model.model_fields]
            models = [model for field in fields for model in _sections_in(field.annotation)]
    for model in models:
        if key in model.foreign_names:
            return f"; it is `{model.foreign_names[key]}` here"
    for name, other in schema.items() if len(path) == 2 else ():
        if key in other.model_fields:
            return f"; it belongs under `{name}:`"
    return _nearest(key, dict.fromkeys(name for model in models for name in model.model_fields))


def _without_tags(keys: KeyPath, marks: Mapping[KeyPath, Mark]) -> Iterator[str | int]:
    """A place without the tags that pydantic puts between its keys where there are several kinds of a section."""
    known: KeyPath = ()
    for index, key in enumerate(keys):
        if (*known, key) in marks or index in (0, len(keys) - 1):
            known = (*known, key)
            yield key


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)


def _nearest(key: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(key, names, 1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(names)}"


def _origins(root: Root, sections: Mapping[str, Section], marks: Mapping[KeyPath, Mark]) -> Iterator[tuple[str, str]]:
    if root.until is not None:
        yield "until", marks[("until",)].origin()
    for name, section in sections.items():
        for key in type(section).model_fields:
            mark = marks.get((name, key))
            yield f"{name}.{key}", mark.origin() if mark else section.unstated(key)
