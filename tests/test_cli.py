"""The command line: what each command answers, on which stream, and with which exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import UsageError
from stages.release import ollama

if TYPE_CHECKING:
    from conftest import Answer, Toy

    Command = Callable[..., Answer]

HEAVY = ("torch", "transformers", "pydantic", "yaml", "rich", "numpy", "sentencepiece", "pymupdf", "libcst", "gguf")
COMMANDS = [
    "run",
    "plan",
    "status",
    "export",
    "show",
    "sample",
    "chat",
    "evaluate",
    "report",
    "log",
    "diff",
    "verify",
    "gc",
    "validate",
    "doctor",
    "init",
]


def python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = "import contextlib, sys\nfrom pipeline.cli import main\n"
    if arguments:
        code += f"with contextlib.suppress(SystemExit): sys.argv[1:] = {arguments}; main()\n"
    done = python(code + "print(*sys.modules)")
    assert done.stderr == ""
    loaded = set(done.stdout.splitlines()[-1].split())
    own = {"pydantic"} if len(arguments) > 1 else set()  # typer itself takes it for the options of a command
    assert "pipeline.cli" in loaded and not (set(HEAVY) - own) & loaded


def test_help_names_every_command_and_each_explains_itself(command: Command) -> None:
    told = command("--help")
    assert told.code == 0
    assert [line.split()[0] for line in told.out.partition("Commands:")[2].splitlines() if line.strip()] == COMMANDS
    for name in COMMANDS:
        one = command(name, "--help")
        assert one.code == 0 and f"pipeline {name}" in one.out and one.err == ""


def test_the_installed_command_is_this_one(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("pipeline")
    if not script.exists():
        pytest.skip("the project is not installed beside this Python")
    done = subprocess.run([script, "log", "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fly"], "No such command 'fly'"),
        (["run", "--fly"], "No such option: --fly"),
        (["gc", "--keep", "0"], "Invalid value for '--keep'"),
        (["run", "--config", "missing.yaml"], "error: no config `missing.yaml` in "),
        (["run"], "error: no run in "),
        (["run", "-c", "toy", "--from", "wrds"], "error: no stage `wrds`"),
        (["run", "-c", "toy", "--from", "page"], "error: --from page: there is no whole words artifact"),
        (["run", "-c", "toy", "--profile", "tpu"], "error: toy.yaml:1:1: no profile `tpu`"),
        (["plan", "-c", "toy", "--set", "count.stps=3"], "error: --set count.stps=3: unknown key `count.stps`"),
        (["validate", "-c", "toy", "--set", "count.num_steps=3"], "it is `steps` here"),
        (["diff"], "error: there are not two runs to compare"),
        (["diff", "7", "8"], "error: no run 7"),
        (["init", "Not A Name"], "error: `Not A Name` cannot be a name"),
        (["init", "toy"], "error: toy.yaml is there already"),
        (
            ["export", "--name", "a", "--overwrite"],
            "error: --name, --overwrite without --create\nhint: pipeline export --name a --overwrite --create\n",
        ),
        (["export", "--host", "box"], "error: --host without --create\nhint: pipeline export --host box --create\n"),
        (["export", "--quant", ""], "error: --quant is given without a value"),
        (["export", "--fit", "8MB", "--fit", ","], "error: --fit is given without a value"),
        (["export", "--public"], "error: --public without --push USER/NAME"),
    ],
)
def test_a_command_that_cannot_be_carried_out_exits_with_2(command: Command, arguments: list[str], told: str) -> None:
    answer = command(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err and "Traceback" not in answer.err


def test_every_error_of_a_config_is_a_line_with_its_place_and_a_hint_follows(command: Command, toy: Toy) -> None:
    toy.write_config("name: toy\ncount:\n  stps: 3\n  pause: soon\n")
    answer = command("run", "--config", "toy.yaml")
    assert answer.code == 2
    assert answer.err.splitlines() == [
        'error: toy.yaml:4:10: count.pause: should be a valid number, not "soon"',
        "error: toy.yaml:3:3: unknown key `count.stps`; did you mean `steps`?",
        "hint: pipeline validate --config toy.yaml",
    ]
    assert not (toy.folder / "artifacts").exists()
    told = command("run", "-c", "toy", "--set", "page.title=a b").err
    assert told.endswith("\nhint: pipeline validate --config toy.yaml --set 'page.title=a b'\n")
    toy.write_config("name: toy\n")
    assert "hint" not in command("run", "-c", "toy", "--set", "count.stps=3").err


def test_a_run_says_what_it_does_and_ends_with_the_next_command(command: Command, toy: Toy) -> None:
    answer = command("run", "--config", "toy")
    assert (answer.code, answer.out) == (0, "")
    lines = answer.err.splitlines()
    assert lines[0] == "toy: profile cpu (auto: no CUDA device)"
    assert lines[1] == "words      run     first time"
    assert lines[-1] == "next: cat exports/toy/page.txt"
    again = command("run").err.splitlines()
    assert [line.split()[:2] for line in again[1:4]] == [["words", "reuse"], ["count", "reuse"], ["page", "reuse"]]
    assert (toy.folder / "exports" / "toy" / "page.txt").exists()


def test_without_a_config_a_command_goes_on_from_the_newest_run(command: Command, toy: Toy) -> None:
    command("run", "--config", "toy", "--set", "count.steps=6", "--profile", "gpu-12gb")
    assert "count      reuse" in command("run").err
    values = json.loads(command("validate", "--json").out)
    assert (values["profile"], values["config"]["count"]["steps"]) == ("gpu-12gb", 6)
    assert json.loads(command("validate", "--json", "--set", "count.steps=7").out)["config"]["count"]["steps"] == 7


@pytest.mark.parametrize("arguments", [["sample", "def "], ["export", "--quant", "q4_k_m"], ["status"], ["verify"]])
def test_in_an_empty_folder_the_real_commands_say_what_to_do_first(tmp_path: Path, arguments: list[str]) -> None:
    done = python("from pipeline.cli import main; main()", *arguments, cwd=tmp_path)
    asked = arguments[0] in ("sample", "export")
    assert done.returncode == (2 if asked else 0)
    assert "Traceback" not in done.stderr and ("hint: pipeline run --config" in done.stderr) is asked


def test_what_programs_read_is_json_on_stdout(command: Command, toy: Toy) -> None:
    assert json.loads(command("status", "--json").out)["stages"][0]["artifact"] is None
    assert json.loads(command("log", "--json").out) == []
    command("run", "--config", "toy")
    command("run", "--set", "count.steps=6")
    plan = json.loads(command("plan", "--json", "--force", "words").out)
    assert [(row["stage"], row["action"]) for row in plan["stages"]] == [
        ("words", "run"),
        ("count", "run"),
        ("page", "run"),
    ]
    assert json.loads(command("status", "--json").out)["stages"][1]["artifact"].startswith("v0002-")
    assert [record["outcome"] for record in json.loads(command("log", "--json").out)] == ["ok", "ok"]
    values = {row["value"] for row in json.loads(command("diff", "--json").out)}
    assert values == {"material.config.count.steps", "metrics.steps", "material.inputs.count"}
    assert json.loads(command("diff", "count/v0001", "--json").out)[0]["after"] == 6
    assert {finding["what"] for finding in json.loads(command("doctor", "--json").out)} >= {"python", "torch", "disk"}


def test_until_and_force_reach_the_runner(command: Command, toy: Toy) -> None:
    command("run", "-c", "toy", "--until", "words")
    assert toy.store.stages() == ["words"]
    assert "words      run     --force" in command("run", "--force", "words", "--until", "words").err
    assert "page       run" in command("run", "--from", "count").err


def test_damage_exits_with_3_and_the_next_run_mends_it(command: Command, toy: Toy) -> None:
    command("run", "-c", "toy")
    assert command("verify").code == 0
    label = toy.store.by_label("page").label
    (toy.folder / "artifacts" / label / "parts" / "page.txt").write_text("")
    answer = command("verify")
    assert answer.code == 3
    assert answer.err.startswith(f"error: {label}: parts/page.txt has 0 bytes, not 72\nhint: pipeline run")
    assert command("run").code == 0
    assert command("gc", "--keep", "1").code == 0
    assert command("verify").code == 0


def test_a_failing_stage_exits_with_1_and_no_trace(command: Command, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(context: object) -> dict[str, object]:
        raise RuntimeError("boom [bold]")

    toy.replace("count", fail)
    answer = command("run", "-c", "toy", "--set", "page.title=a b")
    assert answer.code == 1
    assert answer.err.splitlines()[-2:] == [
        "error: count: RuntimeError: boom [bold]",
        "hint: PIPELINE_DEBUG=1 pipeline run -c toy --set 'page.title=a b'  shows the trace",
    ]
    monkeypatch.setenv("PIPELINE_DEBUG", "1")
    with pytest.raises(Exception, match="boom") as caught:
        command("run", "-c", "toy")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_error_nobody_thought_of_exits_with_1_and_no_trace(command: Command, toy: Toy) -> None:
    (toy.folder / "artifacts").write_text("a file in the way")
    answer = command("run", "-c", "toy")
    assert answer.code == 1
    assert answer.err.splitlines()[-2].startswith("error: FileExistsError: ")
    assert answer.err.splitlines()[-1] == "hint: PIPELINE_DEBUG=1 before the same command shows the trace"


def test_init_writes_a_config_and_says_how_to_go_on(command: Command, toy: Toy) -> None:
    answer = command("init", "mine", "--folder", "papers")
    assert answer.code == 0
    assert answer.err.splitlines() == [
        "wrote mine.yaml; it reads documents from papers/",
        "next: pipeline run --config mine.yaml",
    ]
    assert (toy.folder / "mine.yaml").exists() and (toy.folder / "papers").is_dir()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_saves_tells_and_is_resumed_by_the_same_command(
    toy: Toy, number: signal.Signals, code: int
) -> None:
    process = toy.start_counting(until=10, steps=400)
    process.send_signal(number)
    told = process.communicate()[1]
    assert process.returncode == code
    assert "Traceback" not in told
    assert told.splitlines()[-2:] == [
        f"error: interrupted by {number.name}; finished stages are kept",
        "hint: run the same command again to go on",
    ]
    saved = toy.saved_step()
    assert 10 <= saved < 400
    again = toy.start("run")
    told = again.communicate()[1]
    assert again.returncode == 0
    assert "count      resume  an interrupted try is there" in told
    assert f"going on from step {saved}" in told


def test_a_second_run_exits_with_2_and_names_the_first(toy: Toy) -> None:
    first = toy.start_counting(until=5, steps=100_000)
    try:
        second = toy.start("run", "--config", "toy.yaml")
        told = second.communicate()[1]
        status = toy.start("status")
        assert f"in use by process {first.pid}" in status.communicate()[1]
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 2
    assert f"is in use by process {first.pid} on " in told and "Traceback" not in told
    status = toy.start("status")
    assert "in use" not in status.communicate()[1]


def test_json_survives_a_terminal_without_unicode(toy: Toy) -> None:
    asked = toy.start("validate", "--config", "toy.yaml", "--json", "--set", "page.title=é→", PYTHONIOENCODING="ascii")
    out, _ = asked.communicate()
    assert asked.returncode == 0 and json.loads(out)["config"]["page"]["title"] == "é→"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["validate"], 0, "is valid"),
        (["plan"], 0, "first time"),
        (["validate", "--set", "model.d_model=130"], 2, "model.d_model: 130 is not divisible by n_heads 4"),
        (["validate", "--set", "model.n_embd=128"], 2, "it is `d_model` here"),
        (["validate", "--set", "export.quant=[q9]"], 2, "unknown quantisation q9; known: "),
        (["validate", "--set", "pretrain.lr=1e-3"], 2, "it is `learning_rate` here"),
        (["validate", "--set", "pretrain.min_lr=0.5"], 2, "0.5 is above learning_rate"),
    ],
)  # fmt: skip
def test_the_real_road_and_its_config_answer(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    done = python(
        "from pipeline.cli import main; main()", *arguments, "--config", "micropython", "--profile", "cpu", cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


class Release:
    """Stands in for the road and for the world: what `export` asked of them."""

    name = "tiny"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[Any] = []
        push = ModuleType("stages.release.push")
        push.push = lambda folder, repo, *, private: self.did.append(("push", folder, repo, private)) or "URL"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stages.release.push", push)
        monkeypatch.setattr("pipeline.cli._load", self.load)
        monkeypatch.setattr("pipeline.runner.Runner", lambda *_: self)
        monkeypatch.setattr(ollama, "ready", lambda name, host: self.did.append(("ready", name, host)))
        monkeypatch.setattr(ollama, "create", self.create)

    def load(self, store: object, config: str | None, profile: str | None, overrides: list[str]) -> Release:
        self.did.append(overrides)
        return self

    def run(self, first: str) -> list[str]:
        self.did.append(("run", first))
        return ["ollama create tiny -f exports/tiny/Modelfile"]

    def create(self, name: str, folder: Path, *, host: str | None, overwrite: bool, typed: str, **_: object) -> None:
        self.typed = typed
        self.did.append(("create", name, folder, host, overwrite))


@pytest.mark.parametrize(
    ("arguments", "did"),
    [
        ([], [[]]),
        (["--quant", "q8_0, q4_k_m", "--quant", "f16"], [['export.quant=["q8_0", "q4_k_m", "f16"]']]),
        (
            ["--fit", "3000000,a[", "--fit-bits", "4.5", "--set", "export.temperature=1"],
            [["export.temperature=1", 'export.fit=["3000000", "a[", "4.5bpw"]']],
        ),
    ],
)
def test_what_to_export_becomes_overrides_and_the_next_command_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], did: list[Any]
) -> None:
    release = Release(monkeypatch)
    answer = command("export", *arguments)
    assert (answer.code, answer.err) == (0, "next: ollama create tiny -f exports/tiny/Modelfile\n")
    assert release.did == [*did, ("run", "export")]


def test_a_release_is_handed_on_where_that_was_asked_and_ollama_is_looked_for_first(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(monkeypatch)
    answer = command("export", "--create", "--push", "me/tiny")
    assert (answer.code, answer.err) == (0, "next: ollama run tiny\nURL\n")
    folder = Path("exports/tiny")
    assert release.did[1:] == [
        ("ready", "tiny", None),
        ("run", "export"),
        ("create", "tiny", folder, None, False),
        ("push", folder, "me/tiny", True),
    ]
    release.did.clear()
    answer = command(
        "export", "--create", "--host", "box", "--name", "a:b", "--overwrite", "--push", "me/t", "--public"
    )
    assert release.typed.startswith("pipeline export --create --host box --name a:b ")
    assert answer.code == 0 and "next: OLLAMA_HOST=box ollama run a:b\n" in answer.err
    assert release.did[1::2] == [("ready", "a:b", "box"), ("create", "a:b", folder, "box", True)]
    assert release.did[4] == ("push", folder, "me/t", False)


def test_a_name_that_ollama_would_refuse_is_told_before_anything_is_done(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(monkeypatch)

    def refuse(name: str, host: str | None) -> None:
        raise UsageError("no", "hint")

    monkeypatch.setattr(ollama, "ready", refuse)
    assert command("export", "--create").code == 2 and release.did == [[]]
