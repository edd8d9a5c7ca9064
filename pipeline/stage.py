"""What a stage is: a value that names its inputs, the config sections it reads, and the function that does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

Metrics = dict[str, Any]


class Section(BaseModel):
    """A config section: unknown keys and wrong types are errors, and values are never changed after loading.

    `foreign_names` maps what other tools call a key to its name here, for error messages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    foreign_names: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def replaced_by(cls, key: str, value: Any) -> frozenset[str]:
        """The keys that this one, stated in a profile or override, takes the place of in what these lie over."""
        return frozenset()

    def unstated(self, key: str) -> str:
        """Where the value of a key that nobody stated comes from."""
        return "default"


SectionT = TypeVar("SectionT", bound=Section)
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


def section_error(key: str, message: str) -> PydanticCustomError:
    """An error that spans several keys of a section, to be shown at the position of `key`; raise it in a validator."""
    return PydanticCustomError("section", "{message}", {"message": message, "key": key})


class ProgressBar(Protocol):
    """Progress of one piece of long work."""

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        """Add `amount` units; `note` replaces the text beside the bar."""


class Silent:
    """A progress bar that nobody sees."""

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        pass


class OrderedMap(Protocol):
    """`function(x)` for each input, lazily and in order, over all workers; the function must be importable."""

    def __call__(self, function: Callable[[InputT], OutputT], inputs: Iterable[InputT]) -> Iterator[OutputT]: ...


@dataclass(frozen=True)
class Context:
    """Everything a stage may see while it runs.

    `out` is the folder to fill; where the stage is `resumable` it may hold files of an earlier, interrupted try.
    `inputs` maps the name of each needed stage to its artifact's folder. `base` is what relative paths in the config
    are relative to. `map` is the engine's `map_ordered`. `progress(total, unit)` opens a progress bar. Inside
    `with deferred_interrupts() as interrupted` Ctrl-C and SIGTERM only make `interrupted()` true, so that the stage can
    save its state; leaving the block then ends the run.
    """

    sections: Mapping[str, Section]
    inputs: Mapping[str, Path]
    out: Path
    seed: int
    base: Path
    name: str
    map: OrderedMap
    say: Callable[[str], None]
    warn: Callable[[str], None]
    progress: Callable[[float, str], AbstractContextManager[ProgressBar]]
    deferred_interrupts: Callable[[], AbstractContextManager[Callable[[], bool]]]

    def section(self, kind: type[SectionT]) -> SectionT:
        """The config section of the given type; raises KeyError where the stage did not declare it."""
        for value in self.sections.values():
            if isinstance(value, kind):
                return value
        raise KeyError(f"{kind.__name__} is not among the sections that this stage declares")


@dataclass(frozen=True)
class Stage:
    """One step of the road.

    `version` is raised when the output changes meaning. `sections` maps the config sections it reads to their models;
    `needs` names the stages whose artifacts it reads, and `spared(sections)` those among them that it does without when
    its sections are these; what no stage of a run needs is left out of it. A `seeded` stage depends on the config's
    seed, a `named` one on its name, and a `resumable` one goes on from its own partial output.
    `fingerprint(sections, base)` describes input from outside the store. A `parallel` stage is run by all processes of
    a run at once, of which the first alone writes.
    `command` is what to type next where a run ends with this stage.
    `publish(artifact, name, folder)` copies a finished artifact to where people look for it and returns the next
    command for them. `estimate(all sections)` gives lines for `plan`.
    """

    name: str
    version: int
    module: str
    run: Callable[[Context], Metrics]
    sections: Mapping[str, type[Section]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    seeded: bool = False
    named: bool = False
    resumable: bool = False
    fingerprint: Callable[[Mapping[str, Section], Path], Any] | None = None
    publish: Callable[[Path, str, Path], str] | None = None
    estimate: Callable[[Mapping[str, Section]], list[str]] | None = None
    spared: Callable[[Mapping[str, Section]], frozenset[str]] | None = None
    parallel: bool = False
    command: str = ""


Road = tuple[Stage, ...]
