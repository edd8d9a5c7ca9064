"""The command line: one function per command, and no logic."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.store import Store

ARTIFACTS, EXPORTS = Path("artifacts"), Path("exports")

app = typer.Typer(
    name="pipeline",
    help="From a folder of PDFs, docs and MicroPython code to a small language model that answers in Ollama.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

ConfigOption = Annotated[
    str | None, typer.Option("--config", "-c", help="Config file; by default that of the newest run.")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a value: section.key=value. Repeatable.")]
ProfileOption = Annotated[str | None, typer.Option(help="A profile of the config, or auto: chosen by the hardware.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
FromOption = Annotated[str | None, typer.Option("--from", help="Start here; take what comes before as it is.")]
UntilOption = Annotated[str | None, typer.Option(help="Stop after this stage; by default the config's `until`.")]
ForceOption = Annotated[list[str] | None, typer.Option(help="Rerun this stage even if it is up to date. Repeatable.")]
TEMPERATURE = typer.Option(min=0, help="0 takes the likeliest token.")
TOP_K = typer.Option(min=0, help="Of so many likeliest tokens; 0 for all.")
TOP_P = typer.Option(min=0.01, max=1, help="Of the fewest tokens that are so probable together.")
MIN_P = typer.Option(min=0, max=1, help="Of tokens with this share of the likeliest's chance.")
PENALTY = typer.Option(min=0.01, help="Against tokens that were just there; 1 for none.")
StopOption = Annotated[list[str] | None, typer.Option(help="End before this text. Repeatable.")]
SystemOption = Annotated[str | None, typer.Option(help="System message; by default that of the model.")]
StageOption = Annotated[str, typer.Option(help="pretrain or finetune: that stage's weights, in torch.")]
ChangedOption = Annotated[bool, typer.Option("--changed-code", help="Rerun stages whose code changed.")]


@app.command()
def run(
    config: ConfigOption = None,
    set_: SetOption = None,
    profile: ProfileOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    force: ForceOption = None,
    changed_code: ChangedOption = False,
    nproc: Annotated[int, typer.Option(min=1, help="Processes that train together, one per card.")] = 1,
) -> None:
    """Bring every stage up to date: reuse, run or resume each, and say why."""
    from pipeline import console, launch
    from pipeline.runner import Options, Runner
    from pipeline.store import Store
    from stages import ROAD

    if launch.rank():
        raise typer.Exit(launch.follow(ROAD))
    crew = launch.Crew(nproc)
    store = Store(ARTIFACTS)
    loaded = _load(store, config, profile, set_)
    options = Options(from_, until, tuple(force or ()), changed_code, typed=_typed())
    for command in Runner(ROAD, loaded, store, EXPORTS, options, crew).run():
        console.say(f"next: {command}", "bold green")


@app.command()
def plan(
    config: ConfigOption = None,
    set_: SetOption = None,
    profile: ProfileOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    force: ForceOption = None,
    changed_code: ChangedOption = False,
    json: JsonOption = False,
) -> None:
    """Show what `run` would do, why, and what it would take, without doing it."""
    from pipeline import views
    from pipeline.runner import Options, Runner
    from pipeline.store import Store
    from stages import ROAD

    store = Store(ARTIFACTS)
    loaded = _load(store, config, profile, set_)
    options = Options(from_, until, tuple(force or ()), changed_code)
    runner = Runner(ROAD, loaded, store, EXPORTS, options)
    views.plan(list(runner.plan()), loaded, left_out=runner.left_out(), json=json)


@app.command()
def status(json: JsonOption = False) -> None:
    """Show the newest artifact of every stage."""
    from pipeline import history, views
    from pipeline.store import Store
    from stages import ROAD

    store = Store(ARTIFACTS)
    views.status(history.status(ROAD, store), store, json=json)


@app.command()
def export(
    quant: Annotated[
        list[str] | None, typer.Option(help="Quantisations, such as q4_k_m; repeatable or with commas.")
    ] = None,
    fit: Annotated[
        list[str] | None, typer.Option(help="Sizes of files to fit the model into, such as 12MB; repeatable.")
    ] = None,
    fit_bits: Annotated[
        list[str] | None, typer.Option(help="The same as bits per weight, such as 4.5; repeatable.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Register the release in Ollama afterwards.")] = False,
    host: Annotated[str | None, typer.Option(help="Where Ollama is; by default where OLLAMA_HOST says.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in Ollama; by default the config's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of that name in Ollama.")] = False,
    push: Annotated[str | None, typer.Option(help="Upload to the Hugging Face Hub as USER/NAME, private.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Upload for everybody to see.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make the release again, in other quantisations or sizes if asked; hand it to Ollama or the Hub if asked."""
    from pipeline import console
    from pipeline.runner import Options, Runner
    from pipeline.store import Store
    from stages import ROAD

    _only_with("--create", create, {"--host": host, "--name": name, "--overwrite": overwrite})
    _only_with("--push USER/NAME", push, {"--public": public})
    store = Store(ARTIFACTS)
    fits = [*_listed("--fit", fit), *(f"{bits}bpw" for bits in _listed("--fit-bits", fit_bits))]
    asked = {"export.quant": _listed("--quant", quant), "export.fit": fits}
    override = [f"{key}={jsonlib.dumps(values, ensure_ascii=False)}" for key, values in asked.items() if values]
    loaded = _load(store, config, profile, [*(set_ or ()), *override])
    release = EXPORTS / loaded.name
    if create:
        from stages.release import ollama

        ollama.ready(name or loaded.name, host)  # before hours of work
    options = Options(last="export", only=("convert", "export"), typed=_typed())
    for command in Runner(ROAD, loaded, store, EXPORTS, options).run("export"):
        if not create:
            console.say(f"next: {command}", "bold green")
    if create:
        ollama.create(
            name or loaded.name,
            release,
            host=host,
            overwrite=overwrite,
            say=console.say,
            progress=console.progress,
            typed=_typed(),
        )
        place = f"OLLAMA_HOST={shlex.quote(host)} " if host else ""
        console.say(f"next: {place}ollama run {name or loaded.name}", "bold green")
    if push:
        from stages.release.push import push as push_to_hub

        console.say(push_to_hub(release, push, private=not public))


@app.command()
def show(
    document: Annotated[str, typer.Argument(help="A document's id, its path, or a part of it; none lists all.")] = "",
    pages: Annotated[str, typer.Option(help="Of a PDF, such as 3-8; by default the first 50.")] = "",
    out: Annotated[Path | None, typer.Option(help="The HTML file; by default show-<name>.html.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="List what was left out, and why.")] = False,
    reason: Annotated[str, typer.Option(help="With --dropped: only what was left out for this reason.")] = "",
    json: JsonOption = False,
) -> None:
    """Show what was extracted beside the original, as a page for the browser."""
    from pipeline.store import Store
    from stages.corpus import show as viewer

    store = Store(ARTIFACTS)
    if dropped or reason:
        viewer.list_dropped(store, reason=reason, json=json)
    elif document:
        viewer.show(store, document, pages=pages, out=out, open_=open_)
    else:
        viewer.list_documents(store, json=json)


@app.command()
def sample(
    prompt: Annotated[
        str, typer.Argument(help="Text to go on from, if any; a question with --chat; - reads standard input.")
    ] = "",
    file: Annotated[Path | None, typer.Option(help="Go on from the text of this file.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Fill a gap after this text; @FILE reads it.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Fill a gap before this text; @FILE reads it.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask in the chat format of finetuning.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="How many, each with a seed of its own.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1)] = 200,
    temperature: Annotated[float, TEMPERATURE] = 0.8,
    top_k: Annotated[int, TOP_K] = 50,
    top_p: Annotated[float, TOP_P] = 1.0,
    min_p: Annotated[float, MIN_P] = 0.0,
    repeat_penalty: Annotated[float, PENALTY] = 1.0,
    stop: StopOption = None,
    system: SystemOption = None,
    seed: Annotated[int, typer.Option(min=0)] = 1337,
    model: Annotated[str, typer.Option(help="As of evaluate; by default the newest trained weights.")] = "",
    stage: StageOption = "",
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Take the newest run of this config; by default of any.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write texts: from a beginning, in answer to a question, or into a gap."""
    from pipeline.config import find_config
    from pipeline.store import Store
    from stages.evaluation import sample as sampler
    from stages.evaluation.models import open_model
    from stages.evaluation.models.newest import newest_weights
    from stages.tokens.sampling import Sampling

    store = Store(ARTIFACTS)
    asked = sampler.read_prompt(prompt, file=file, prefix=prefix, suffix=suffix, chat=chat)
    spec = model or newest_weights(store, find_config(config) if config else None, stage)
    with open_model(spec, system=system, artifacts=ARTIFACTS) as opened:
        sampler.sample(
            opened,
            asked,
            samples=samples,
            sampling=Sampling(temperature, top_k, top_p, min_p, repeat_penalty),
            max_tokens=max_tokens,
            seed=seed,
            stop=stop or (),
            json=json,
        )


@app.command()
def chat(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="As of evaluate; by default the newest release, in llama.cpp.")
    ] = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer.")] = None,
    temperature: Annotated[float | None, TEMPERATURE] = None,
    top_k: Annotated[int | None, TOP_K] = None,
    top_p: Annotated[float | None, TOP_P] = None,
    min_p: Annotated[float | None, MIN_P] = None,
    repeat_penalty: Annotated[float | None, PENALTY] = None,
    stop: StopOption = None,
    system: SystemOption = None,
    seed: Annotated[int, typer.Option(min=0)] = 1337,
    stage: StageOption = "",
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Take the newest run of this config; by default of any.")
    ] = None,
) -> None:
    """Talk with a model in the terminal; lines of a pipe are answered one by one.

    Options that are not given are what the model's Modelfile says.
    """
    from pipeline.config import find_config
    from pipeline.store import Store
    from stages.evaluation import chat as terminal
    from stages.evaluation.models import open_model
    from stages.evaluation.models.newest import newest_release, newest_weights

    store, wanted = Store(ARTIFACTS), find_config(config) if config else None
    spec = model or (newest_weights(store, wanted, stage) if stage else newest_release(store, wanted))
    with open_model(spec, system=system, artifacts=ARTIFACTS) as opened:
        settings = terminal.settings_of(
            opened,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            max_tokens=max_tokens,
            stop=stop,
        )
        terminal.chat(opened, sampling=settings.sampling, max_tokens=settings.max_tokens, seed=seed, stop=settings.stop)


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="GGUF files, folders, artifacts, ollama:NAME, openai:NAME@URL; none: the newest release.",
        ),
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Run what the models write, in the sandbox.")] = False,
    tasks: Annotated[list[str] | None, typer.Option(help="Patterns of task ids, such as 'pins/*'; repeatable.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Answers to each task; pass@10 takes ten.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write every answer of the models to this file.")] = None,
    answers: Annotated[Path | None, typer.Option(help='Judge lines of {"task": …, "answer": …} instead.')] = None,
    references: Annotated[bool, typer.Option("--references", help="Judge the suite's own solutions instead.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the tasks.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Ask models for programs: do they compile, do they work, how sure is that? One table."""
    from pipeline.store import Store
    from stages.evaluation import compare

    _only_with("a MODEL", models, {"--save": save})
    if list_ or references or answers:
        _alone("--list, --references or --answers", {"a MODEL": models, "--samples": samples, "--execute": execute})
        _alone("--answers", {"--tasks": answers and tasks, "--list": answers and list_})
        _alone("--references", {"--list": references and list_, "--answers": references and answers})
        raise typer.Exit(compare.suite(tasks or ["*"], references=references, answers=answers, json=json))
    store = Store(ARTIFACTS)
    asked = {"tasks": tasks, "samples": samples, "execute": execute or None}
    override = [f"evaluate.{key}={jsonlib.dumps(value)}" for key, value in asked.items() if value]
    records: list[Any] = []
    if models:
        # Other people's models can be asked before there is a run of one's own. What they write is run where the
        # config or this command asks for it, not because an earlier command did.
        anything = config or (None if store.runs() else "micropython")
        loaded = _load(store, anything, profile, [*(set_ or ()), *override], afresh="evaluate.execute")
        records += compare.compare(models, loaded, store, save=save)
    else:
        from pipeline.runner import Options, Runner
        from stages import ROAD

        loaded = _load(store, config, profile, [*(set_ or ()), *override])
        Runner(ROAD, loaded, store, EXPORTS, Options(only=("evaluate", "report"), typed=_typed())).run("evaluate")
    compare.show([*records, *compare.evaluated(store, records[0] if records else None)], json=json)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's number; by default the newest.")] = "",
    against: Annotated[str, typer.Option(help="A run to compare with.")] = "",
    out: Annotated[Path | None, typer.Option(help="The folder; by default reports/<name>-<run>.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Write the figures for TensorBoard to this folder.")] = None,
    wandb: Annotated[str | None, typer.Option(help="Send the figures to this project of Weights & Biases.")] = None,
) -> None:
    """Show a run as one page: what came in, how training went, what the model can do, where all of it comes from."""
    from pipeline import console
    from pipeline.store import Store
    from stages.evaluation import report as reporter

    page = reporter.report(Store(ARTIFACTS), run, against=against, out=out, open_=open_)
    console.say(str(page))
    metrics = page.with_name(reporter.POINTS)
    if tensorboard:
        from stages.evaluation.trackers import to_tensorboard

        to_tensorboard(metrics, tensorboard)
        console.say(f"next: tensorboard --logdir {shlex.quote(str(tensorboard))}", "bold green")
    if wandb:
        from stages.evaluation.trackers import to_wandb

        to_wandb(metrics, wandb)


@app.command()
def log(json: JsonOption = False) -> None:
    """List the runs."""
    from pipeline import views
    from pipeline.store import Store

    views.log(Store(ARTIFACTS).runs(), json=json)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A run's number, or an artifact such as pretrain/v0001.")] = "",
    after: Annotated[str, typer.Argument()] = "",
    json: JsonOption = False,
) -> None:
    """Show what differs between two runs or two artifacts; by default between the last two runs."""
    from pipeline import history, views
    from pipeline.store import Store

    store = Store(ARTIFACTS)
    names = history.pair(store, before, after)
    views.diff(history.difference(*(history.resolve(store, name) for name in names)), names, json=json)


@app.command()
def verify() -> None:
    """Check every stored file against its checksum."""
    from pipeline import views
    from pipeline.store import Store

    views.verify(Store(ARTIFACTS))


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, help="Keep what the newest runs used.")] = 3,
    partials: Annotated[bool, typer.Option("--partials", help="Also delete interrupted tries.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete old artifacts."""
    from pipeline import views
    from pipeline.store import Store

    views.collect_garbage(Store(ARTIFACTS), keep=keep, partials=partials, dry_run=dry_run)


@app.command()
def validate(
    config: ConfigOption = None, set_: SetOption = None, profile: ProfileOption = None, json: JsonOption = False
) -> None:
    """Check a config and show where every value comes from."""
    from pipeline import views
    from pipeline.store import Store

    views.config(_load(Store(ARTIFACTS), config, profile, set_), json=json)


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Check that this machine has what the stages need."""
    from pipeline import doctor as examination
    from pipeline import views
    from stages.evaluation.ready import examined

    views.doctor(examination.examine(ARTIFACTS, [examined()]), json=json)


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    folder: Annotated[str, typer.Option(help="Where your PDFs, docs and code are.")] = "corpus",
) -> None:
    """Write a config for a folder of your own."""
    from pipeline import console, scaffold

    path = scaffold.create(name, Path(), folder)
    console.say(f"wrote {path}; it reads documents from {folder}/")
    console.say(f"next: pipeline run --config {path}", "bold green")


def _typed() -> str:
    """The command line, to be told in hints."""
    return shlex.join(["pipeline", *sys.argv[1:]])


def _listed(option: str, given: list[str] | None) -> list[str]:
    """The values of an option that is given several times, or once with commas. Raises UsageError for no value."""
    from pipeline.errors import UsageError

    found = [[part.strip() for part in each.split(",") if part.strip()] for each in given or ()]
    if not all(found):
        raise UsageError(f"{option} is given without a value", hint="pipeline export --help")
    return [part for parts in found for part in parts]


def _only_with(option: str, given: object, others: dict[str, object]) -> None:
    """Raise UsageError for options that say how to do what was not asked for."""
    from pipeline.errors import UsageError

    if not given and (idle := [other for other, value in others.items() if value]):
        raise UsageError(f"{', '.join(idle)} without {option}", hint=f"{_typed()} {option}")


def _alone(option: str, others: dict[str, object]) -> None:
    """Raise UsageError for options that would be passed over beside this one."""
    from pipeline.errors import UsageError

    if beside := [other for other, value in others.items() if value]:
        raise UsageError(f"{', '.join(beside)} does not go with {option}", hint="pipeline evaluate --help")


def _load(
    store: Store, config: str | None, profile: str | None, overrides: list[str] | None, *, afresh: str = ""
) -> Config:
    """The config asked for; without a name that of the newest run, with its profile and overrides.

    Overrides of that run that start with `afresh` are left out, if it is not empty.
    """
    from pipeline import console, hardware, history
    from pipeline.config import find_config, load_config
    from stages import ROAD

    given: list[str] = list(overrides or ())
    if config is None:
        record: dict[str, Any] = history.newest_run(store, "run")
        path = Path(record["config"])
        earlier = [each for each in record["overrides"] if not (afresh and each.startswith(afresh))]
        given = [*earlier, *given]
        profile = profile or record["profile"]
    else:
        path = find_config(config)
    detected, why = hardware.auto_profile()
    loaded = load_config(path, ROAD, profile=profile or "auto", overrides=given, detect=detected)
    if loaded.profile:
        chosen = f"auto: {why}" if profile in (None, "auto") else "as asked"
        changed = "".join(f" --set {override}" for override in given)
        console.say(f"{loaded.name}: profile {loaded.profile} ({chosen}){changed}")
    return loaded


def main() -> None:
    """Run the command line; errors become a message and an exit code."""
    from pipeline.errors import PipelineError

    try:
        app()
    except Exception as error:
        from pipeline import console
        from pipeline.runner import debugging

        if debugging():
            raise
        if isinstance(error, PipelineError):
            console.fail(str(error), error.hint)
            sys.exit(error.exit_code)
        console.fail(f"{type(error).__name__}: {error}", "PIPELINE_DEBUG=1 before the same command shows the trace")
        sys.exit(1)
