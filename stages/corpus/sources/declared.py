"""What a config may declare as a source: a folder, a package, a git repository at a commit, or a file by checksum."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from pipeline.stage import Section, section_error
from stages.corpus.rules import licenses
from stages.corpus.sources.members import name_problem

_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][A-Za-z0-9.!+_-]*")


def _licence(value: str) -> str:
    try:
        return licenses.check(value)
    except licenses.InvalidExpression as error:
        raise ValueError("should be an SPDX expression, such as MIT or `MIT AND Apache-2.0`") from error


def _package(value: str) -> str:
    if not _PACKAGE.fullmatch(value):
        raise ValueError("should be one exact version, as in some-package==1.2.0")
    return value


def _repository(value: str) -> str:
    scheme, is_url, _ = value.partition("://")
    fine = scheme in ("https", "http", "ssh", "git", "file") if is_url else "::" not in value
    if not fine or value.startswith("-") or re.search(r"[\x00-\x1f]", value):
        raise ValueError("should be a URL (https, http, ssh, git, file), host:path, or a folder")
    return value


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("https", "http") and parts.hostname and (parts.port or True)
    except ValueError:
        whole = False
    if not (whole or value.startswith("file:///")) or re.search(r"[\x00-\x20]", value):
        raise ValueError("should be a URL that starts with https://, http:// or file:///")
    return value


def _file_name(value: str) -> str:
    if "/" in value or name_problem(value):
        raise ValueError("should be a plain file name")
    return value


def _digits(count: int, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(f"[0-9a-f]{{{count}}}", value):
            raise ValueError(f"should be {what}: {count} hexadecimal digits in lower case")
        return value

    return AfterValidator(check)


Sha256 = Annotated[str, _digits(64, "the checksum of the file")]
Commit = Annotated[str, _digits(40, "the whole id of a commit, not a branch or tag")]
Patterns = Annotated[tuple[str, ...], Field(strict=False)]


class Source(Section):
    """What all kinds have. Patterns match paths below the source; `*` matches `/` as well.

    With `lines`, each line of a `.txt` file is a document of its own: names, proverbs, sayings.
    """

    license: Annotated[str, AfterValidator(_licence)]
    attribution: str = ""
    include: Patterns = ("*",)
    exclude: Patterns = ()
    lines: bool = False
    foreign_names: ClassVar[Mapping[str, str]] = {
        "path": "folder", "dir": "folder", "directory": "folder", "pypi": "package", "pip": "package",
        "repo": "git", "repository": "git", "rev": "commit", "revision": "commit", "ref": "commit", "tag": "commit",
        "branch": "commit", "hash": "sha256", "checksum": "sha256", "author": "attribution", "licence": "license",
    }  # fmt: skip

    @property
    @abstractmethod
    def name(self) -> str:
        """What documents are marked with: the same wherever and whenever they are gathered."""


class FolderSource(Source):
    """A local folder; a relative one starts at the project's folder."""

    folder: Annotated[str, Field(min_length=1)]

    @property
    def name(self) -> str:
        return self.folder


class RemoteSource(Source):
    """A source that is fetched once and then taken from the cache.

    An `optional` one is left out, with a warning, where it can be had neither from its origin nor from the cache.
    """

    optional: bool = False


class PackageSource(RemoteSource):
    """A package of the package index by exact version; only wheels, which are unpacked and never run."""

    package: Annotated[str, AfterValidator(_package)]
    sha256: Sha256 | None = None

    @property
    def name(self) -> str:
        return f"pypi:{self.package}"


class GitSource(RemoteSource):
    """The files of one commit of a git repository."""

    git: Annotated[str, Field(min_length=1), AfterValidator(_repository)]
    commit: Commit

    @property
    def name(self) -> str:
        return f"git:{self.git}@{self.commit}"


class UrlSource(RemoteSource):
    """A file, or an archive of files, by its checksum. `filename` is for URLs that do not end in a name."""

    url: Annotated[str, AfterValidator(_address)]
    sha256: Sha256
    filename: Annotated[str, AfterValidator(_file_name)] | None = None

    @property
    def name(self) -> str:
        return f"url:{self.url}"

    @property
    def file(self) -> str:
        """The name of the file that the URL gives."""
        from urllib.parse import unquote

        return self.filename or unquote(urlsplit(self.url).path.rpartition("/")[2])

    @model_validator(mode="after")
    def _has_a_name(self) -> UrlSource:
        if not self.file or "/" in self.file or name_problem(self.file):
            raise section_error("url", "does not end in the name of a file; give one with `filename:`")
        return self


KINDS: Mapping[str, type[Source]] = {
    "folder": FolderSource,
    "package": PackageSource,
    "git": GitSource,
    "url": UrlSource,
}


def _kind(value: Any) -> str | None:
    given = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return next((f"{kind} source" for kind in KINDS if kind in given), None)


def _of_one_kind(value: Any) -> Any:
    """Refuse what is of no kind, of two, or has a key of another; such errors would be hard to read otherwise."""
    if not isinstance(value, dict):
        if isinstance(value, Source):
            return value
        raise PydanticCustomError("source", "should be a mapping, such as `folder: docs` and `license: MIT`")
    given = [kind for kind in KINDS if kind in value]
    if not given:
        meant = {key: Source.foreign_names[key] for key in value if key in Source.foreign_names}
        hint = next((f"; it is `{name}` here, not `{key}`" for key, name in meant.items() if name in KINDS), "")
        raise PydanticCustomError("kind", "{text}", {"text": f"has none of {', '.join(KINDS)}{hint}"})
    if len(given) > 1:
        raise section_error(given[1], f"this source has `{given[0]}` already; make it another item of the list")
    fields = KINDS[given[0]].model_fields
    for key in value:
        owners = [kind for kind, model in KINDS.items() if key in model.model_fields]
        if owners and key not in fields:
            raise section_error(key, f"is for {' and '.join(owners)} sources, not for {given[0]}")
    return value


AnySource = Annotated[
    Annotated[FolderSource, Tag("folder source")]
    | Annotated[PackageSource, Tag("package source")]
    | Annotated[GitSource, Tag("git source")]
    | Annotated[UrlSource, Tag("url source")],
    Discriminator(_kind),
    BeforeValidator(_of_one_kind),
]
