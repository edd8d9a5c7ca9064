"""Which stages to reuse, run or resume, and why; and the running of them."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pipeline import console, hardware
from pipeline.config import Config
from pipeline.errors import Interrupted, PipelineError, StageError, UsageError
from pipeline.history import changes
from pipeline.interrupts import Interrupts
from pipeline.launch import Crew
from pipeline.provenance import code_digests, git_state, package_versions
from pipeline.shards import map_ordered
from pipeline.stage import Context, Road, Section, Stage
from pipeline.store import Artifact, Store, canonical

Action = Literal["reuse", "run", "resume"]


@dataclass(frozen=True)
class Options:
    """How a run was asked for: the first and last stage, stages to rerun, and whether changed code counts.

    Where `only` names stages, the others have to be up to date. `typed` is the command line, for hints.
    """

    first: str | None = None
    last: str | None = None
    force: tuple[str, ...] = ()
    changed_code: bool = False
    only: tuple[str, ...] = ()
    typed: str = ""


@dataclass(frozen=True)
class Step:
    """What happens to one stage. `artifact` is the one reused; `note` is worth telling but changes nothing.

    One that is not `sure` is reused if what it reads comes out the same.
    """

    stage: Stage
    action: Action
    reason: str
    key: str | None = None
    artifact: Artifact | None = None
    note: str = ""
    seconds: float | None = None
    size: int | None = None
    sure: bool = True


@dataclass(frozen=True)
class Decision:
    """Everything a stage's key is made of."""

    stage: Stage
    sections: Mapping[str, Section]
    material: dict[str, Any]
    inputs: Mapping[str, Artifact]

    @property
    def key(self) -> str:
        return hashlib.sha256(canonical(self.material)).hexdigest()


@dataclass
class Runner:
    """Runs a road for one config on one store, writing releases under `exports`; `crew` are the processes it has."""

    road: Road
    config: Config
    store: Store
    exports: Path
    options: Options = field(default_factory=Options)
    crew: Crew = field(default_factory=Crew)

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.road]
        for name in (self.options.first, self.options.last, *self.options.force):
            if name is not None and name not in names:
                raise UsageError(f"no stage `{name}`", hint=f"the stages are: {' '.join(names)}")
        first, last = self.options.first, self._last
        if first and last and names.index(first) > names.index(last):
            asked = f"--until {last}" if self.options.last else f"`until: {last}` of {self.config.path}"
            raise UsageError(
                f"--from {first} comes after {asked}", hint=None if self.options.last else f"--until {names[-1]}"
            )

    @property
    def _last(self) -> str | None:
        return self.options.last or self.config.until

    def stages(self) -> tuple[Stage, ...]:
        """The stages of this run: up to the last one asked for, without those that are left out."""
        left_out = self.left_out()
        return tuple(stage for stage in self._reach() if stage.name not in left_out)

    def left_out(self) -> tuple[str, ...]:
        """Stages that others could need, of which none in this run does with this config."""
        asked: set[str] = set()
        needed: set[str] = set()
        found: list[str] = []
        for stage in reversed(self._reach()):
            if stage.name in asked - needed:
                found.insert(0, stage.name)
            else:
                needed.update(self._needs(stage))
            asked.update(stage.needs)
        return tuple(found)

    def _reach(self) -> Road:
        names = [stage.name for stage in self.road]
        return self.road[: names.index(self._last) + 1] if self._last else self.road

    def _needs(self, stage: Stage) -> tuple[str, ...]:
        spared = stage.spared(self._sections(stage)) if stage.spared else frozenset()
        return tuple(name for name in stage.needs if name not in spared)

    def _sections(self, stage: Stage) -> dict[str, Section]:
        return {name: self.config.sections[name] for name in stage.sections}

    def plan(self) -> Iterator[Step]:
        """What a run would do, without doing it."""
        made: dict[str, Artifact] = {}
        uncertain: set[str] = set()
        for stage in self.stages():
            waiting = [name for name in self._needs(stage) if name in uncertain]
            if waiting:
                uncertain.add(stage.name)
                own = self._own_changes(stage, made)
                reason = own or f"after {', '.join(waiting)} (reused if their output comes out the same)"
                yield Step(stage, "run", reason, **self._last_cost(stage), sure=bool(own))
                continue
            step = self._decide(stage, made)
            if step.artifact:
                made[stage.name] = step.artifact
            else:
                uncertain.add(stage.name)
            yield step

    def run(self, command: str = "run") -> list[str]:
        """Bring every stage up to date and return the next commands. Raises PipelineError on the first failure."""
        with self.store.lock(), self.crew, Interrupts() as interrupts:
            records = self.store.runs()
            for old in records:
                if old["outcome"] == "running":  # this process holds the lock: whoever wrote that is gone
                    self._save({**old, "outcome": "killed"})
            record: dict[str, Any] = {
                "run": records[-1]["run"] + 1 if records else 1,
                "started": _now(),
                "command": command,
                "config": str(self.config.path.resolve()),
                "profile": self.config.profile,
                "overrides": list(self.config.overrides),
                "name": self.config.name,
                "outcome": "running",
                "left_out": list(self.left_out()),
                "stages": {},
            }
            began = time.monotonic()
            try:
                return self._run_stages(record, interrupts)
            except PipelineError as error:
                record["outcome"] = "interrupted" if isinstance(error, Interrupted) else "failed"
                record["error"] = str(error)
                raise
            finally:
                if record["outcome"] == "running":
                    whole = len(record["stages"]) == len(self.stages())
                    record["outcome"] = "ok" if whole else "failed"
                record["seconds"] = round(time.monotonic() - began, 3)
                self._save(record)

    def _run_stages(self, record: dict[str, Any], interrupts: Interrupts) -> list[str]:
        made: dict[str, Artifact] = {}
        following = []
        self._save(record)
        say_left_out(record["left_out"])
        for stage in self.stages():
            interrupts.check()
            step = self._decide(stage, made)
            if step.artifact is None and self.options.only and stage.name not in self.options.only:
                raise self._stale()
            head = f"{stage.name:<10} {step.action:<7}"
            if step.artifact is not None:
                made[stage.name] = step.artifact
                console.say(f"{head} {step.artifact.name}  {step.reason}".rstrip())
                if step.note:
                    console.warn(step.note)
            else:
                console.say(f"{head} {step.reason}")
                made[stage.name] = self._execute(step, made, interrupts)
            record["stages"][stage.name] = {"action": step.action, "artifact": made[stage.name].name}
            self._save(record)
            if stage.publish:
                following.append(self._publish(stage, made[stage.name]))
        return [*following, *(stage.command for stage in self.stages()[-1:] if stage.command)]

    def _publish(self, stage: Stage, artifact: Artifact) -> str:
        assert stage.publish is not None
        try:
            return stage.publish(artifact.path, self.config.name, self.exports)
        except OSError as error:
            raise self._explained(stage, error) from error

    def _save(self, record: Mapping[str, Any]) -> None:
        try:
            self.store.write_run(record)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise

    def _decide(self, stage: Stage, made: Mapping[str, Artifact]) -> Step:
        names = [known.name for known in self.road]
        if self.options.first and names.index(stage.name) < names.index(self.options.first):
            return self._taken_as_it_is(stage)
        decision = self._decision(stage, made)
        key = decision.key
        cost = self._last_cost(stage)
        if stage.name not in self.options.force:
            damaged = ""
            for artifact in self.store.with_key(stage.name, key):
                problems = artifact.problems()
                if problems:
                    damaged = damaged or f"{artifact.name} is damaged: {problems[0]}"
                    continue
                changed = self._changed_code(artifact)
                if changed and self.options.changed_code:
                    return Step(stage, "run", f"code changed: {changed}", key, **cost)
                notes = [f"{changed} changed since {artifact.name}; --changed-code reruns it"] if changed else []
                if without := artifact.manifest.get("metrics", {}).get("without"):
                    notes.append(f"{artifact.name} was made without {', '.join(without)}; --force {stage.name} retries")
                return Step(stage, "reuse", "", key, artifact, "; ".join(f"{stage.name}: {note}" for note in notes))
            reason = damaged or self._why(decision)
        else:
            reason = "--force"
        if (
            stage.resumable
            and any(self.store.partial(stage.name, key).glob("*"))
            and stage.name not in self.options.force
        ):
            return Step(stage, "resume", "an interrupted try is there", key, **cost)
        return Step(stage, "run", reason, key, **cost)

    def _taken_as_it_is(self, stage: Stage) -> Step:
        versions = self.store.versions(stage.name)
        artifact = next((known for known in reversed(versions) if not known.problems()), None)
        if artifact is None:
            raise UsageError(
                f"--from {self.options.first}: there is no whole {stage.name} artifact to start from",
                hint=f"pipeline run --config {self.config.path}",
            )
        return Step(stage, "reuse", f"taken as it is (--from {self.options.first})", None, artifact)

    def _decision(self, stage: Stage, made: Mapping[str, Artifact]) -> Decision:
        sections = self._sections(stage)
        inputs = {name: made[name] for name in self._needs(stage) if name in made}
        material: dict[str, Any] = {
            "stage": stage.name,
            "version": stage.version,
            "config": {name: section.model_dump(mode="json") for name, section in sections.items()},
            "inputs": {name: artifact.digest for name, artifact in inputs.items()},
        }
        if stage.seeded:
            material["seed"] = self.config.seed
        if stage.named:
            material["name"] = self.config.name
        if stage.fingerprint:
            material["sources"] = stage.fingerprint(sections, self.config.base)
        return Decision(stage, sections, material, inputs)

    def _stale(self) -> StageError:
        """What keeps the stages that may run from running."""
        steps = [step for step in self.plan() if step.action != "reuse" and step.stage.name not in self.options.only]
        told = "; ".join(f"{step.stage.name} {step.reason}" for step in steps if step.sure)
        profile = ["--profile", self.config.profile] if self.config.profile else []
        ours = tuple(f"{name}." for stage in self.road if stage.name in self.options.only for name in stage.sections)
        overrides = [word for each in self.config.overrides if not each.startswith(ours) for word in ("--set", each)]
        command = shlex.join(["pipeline", "run", "--config", str(self.config.path), *profile, *overrides])
        first, last = self.options.only[0], self.options.only[-1]
        return StageError(
            f"the weights are not up to date: {told}",
            hint=f"{command}  (with --from {first} --until {last}: the weights as they are)",
        )

    def _own_changes(self, stage: Stage, made: Mapping[str, Artifact]) -> str:
        """What rules out every artifact of a stage, whatever it reads; empty where nothing does."""
        own = {**self._decision(stage, made).material, "inputs": {}}
        versions = reversed(self.store.versions(stage.name))
        found = [changes({**version.manifest["material"], "inputs": {}}, own) for version in versions]
        return found[0] if found and all(found) else ""

    def _why(self, decision: Decision) -> str:
        """What differs from the stage's newest artifact."""
        newest = self.store.newest(decision.stage.name)
        if newest is None:
            return "first time"
        return changes(newest.manifest["material"], decision.material) or "earlier output is gone"

    def _changed_code(self, artifact: Artifact) -> str:
        stage = next(known for known in self.road if known.name == artifact.stage)
        old, new = artifact.manifest.get("code", {}), code_digests(stage)
        return ", ".join(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))

    def _last_cost(self, stage: Stage) -> dict[str, Any]:
        newest = self.store.newest(stage.name)
        return {"seconds": float(newest.manifest["seconds"]), "size": newest.size} if newest else {}

    def _execute(self, step: Step, made: Mapping[str, Artifact], interrupts: Interrupts) -> Artifact:
        stage = step.stage
        decision = self._decision(stage, made)
        key = decision.key
        started, began = _now(), time.monotonic()
        try:
            self._clear(stage)
            out = self.store.begin(stage.name, key, resume=step.action == "resume")
            context = Context(
                sections=decision.sections,
                inputs={name: artifact.path for name, artifact in decision.inputs.items()},
                out=out,
                seed=self.config.seed,
                base=self.config.base,
                name=self.config.name,
                map=partial(map_ordered, workers=self.config.workers, engine=self.config.engine),
                say=lambda message: console.say(f"  {message}"),
                warn=console.warn,
                progress=lambda total, unit: console.progress(stage.name, total, unit),
                deferred_interrupts=interrupts.deferred,
            )
            metrics = self.crew.work(stage, context)
            interrupts.check()  # a stage that caught the signal's error itself may have left something out
            seconds = round(time.monotonic() - began, 3)
            artifact = self.store.commit(stage.name, key, self._manifest(decision, metrics, started, seconds))
            for replaced in self.store.with_key(stage.name, key)[1:]:
                if replaced.problems():
                    self.store.remove(replaced.path)
        except PipelineError as error:
            if error.hint is None and not isinstance(error, Interrupted):
                error.hint = f"mend the cause, then: {self._again}"
            raise
        except Exception as error:
            raise self._explained(stage, error) from error
        finally:
            self._clear(stage)
        console.say(f"{'':<10} done    {artifact.name}  {console.duration(seconds)}, {console.size(artifact.size)}")
        return artifact

    def _clear(self, stage: Stage) -> None:
        """Delete unfinished output that no other try goes on from."""
        if not stage.resumable:
            with suppress(OSError):
                for folder in self.store.partials(stage.name):
                    self.store.remove(folder)

    def _manifest(self, decision: Decision, metrics: Mapping[str, Any], started: str, seconds: float) -> dict[str, Any]:
        return {
            "material": decision.material,
            "inputs": {name: {"artifact": made.label, "digest": made.digest} for name, made in decision.inputs.items()},
            "origins": {k: v for k, v in self.config.origins.items() if k.partition(".")[0] in decision.sections},
            "profile": self.config.profile,
            "seed": self.config.seed,
            "metrics": dict(metrics),
            "started": started,
            "seconds": seconds,
            "device": hardware.describe(),
            "packages": package_versions(),
            "git": git_state(),
            "code": code_digests(decision.stage),
        }

    @property
    def _again(self) -> str:
        return self.options.typed or f"pipeline run --config {self.config.path}"

    def _explained(self, stage: Stage, error: Exception) -> StageError:
        again = self._again
        free = hardware.free_bytes(self.store.root)
        full = isinstance(error, OSError) and error.errno in _DISK_FULL
        if full or free < 2**20 or "No space left" in str(error):
            message = f"{stage.name}: the disk is full ({console.size(free)} free for {self.store.root.resolve()})"
            return StageError(message, hint=f"pipeline gc  frees old artifacts; then: {again}")
        if isinstance(error, MemoryError):
            return StageError(f"{stage.name}: out of memory", hint=f"lower batch_size or vocab_size, then: {again}")
        return StageError(
            f"{stage.name}: {type(error).__name__}: {error}", hint=f"PIPELINE_DEBUG=1 {again}  shows the trace"
        )


_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def say_left_out(names: Sequence[str]) -> None:
    """One short line about the stages that a run does without."""
    if names:
        console.say(f"left out, as nothing here needs it: {' '.join(names)}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def debugging() -> bool:
    """Whether PIPELINE_DEBUG asks for traces of unexpected errors."""
    return os.environ.get("PIPELINE_DEBUG", "") not in ("", "0")
