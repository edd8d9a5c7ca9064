"""Make the release: GGUF files proven in llama.cpp, a Modelfile, a model card and checksums."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from pipeline.console import size
from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, ProgressBar, Section, Stage, section_error
from pipeline.store import MANIFEST, sha256_file
from stages.corpus.documents import read_documents
from stages.release.card import facts_of, model_card
from stages.release.facts import Corpus, Source, read_corpus
from stages.release.files import (
    COARSE,
    NONE,
    Entry,
    Model,
    check_sizes,
    checked_size,
    given_importance,
    measured_importance,
    write_fits,
    write_named,
)
from stages.release.gguf import Dataset, GgufMetadata, write_gguf
from stages.release.imatrix import Windows
from stages.release.mixes import QUANTS, awkward
from stages.release.modelfile import Modelfile
from stages.release.notices import notices
from stages.release.proof import prove
from stages.release.publish import publish, share, write_sums
from stages.release.windows import validation_windows
from stages.tokens.encoding import load_encoding
from stages.tokens.fim import trained_with_gaps
from stages.training.shape import ModelConfig

PREFERRED = (
    "q4_k_m", "q5_k_m", "q4_k_s", "iq4_xs", "q5_k_s", "q6_k", "q8_0", "q4_0", "q3_k_m", "q2_k", "f16", "bf16", "f32",
)  # fmt: skip
ENOUGH = 1000  # tokens of text on which files are compared, for figures that say something
MEASURING, PROVING = 2.0, 2.0  # what measuring for fits and the proof take, in files


class ExportConfig(Section):
    """`quant` names the files to write, and `fit` sizes of files whose types are chosen for this very model.

    A size is that of the file (`12MB`) or of a weight (`4.5bpw`). The Modelfile takes the first of `fit`, or else that
    of `quant` which comes first in PREFERRED: four to six bits, eight, fewer than four, then what is not quantised.
    `imatrix` is `auto`, `off`, or a file of llama-imatrix; it is made of `imatrix_tokens` of validation text. The files
    are compared on `proof_tokens` of other validation text.
    """

    quant: tuple[str, ...] = ("f16", "q8_0", "q4_k_m")
    fit: tuple[str, ...] = ()
    imatrix: Annotated[str, Field(min_length=1)] = "auto"
    imatrix_tokens: Annotated[int, Field(ge=64)] = 8192
    proof_tokens: Annotated[int, Field(ge=64)] = 8192
    num_predict: Annotated[int, Field(ge=1)] = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2
    repeat_penalty: Annotated[float, Field(gt=0, le=2)] = 1.0

    @field_validator("quant")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name.lower() not in QUANTS]
        if unknown:
            raise ValueError(f"unknown quantisation {', '.join(unknown)}; known: {', '.join(QUANTS)}")
        return tuple(dict.fromkeys(name.lower() for name in names))

    @field_validator("fit")
    @classmethod
    def _sizes(cls, sizes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(checked_size, sizes)))

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.quant and not self.fit:
            raise section_error("quant", "is empty, and so is fit: there is nothing to write")
        return self

    @property
    def weighs(self) -> bool:
        """Whether some file is made with an importance matrix."""
        return self.imatrix != "off" and (bool(self.fit) or any(quant in COARSE for quant in self.quant))

    @property
    def calibrates(self) -> bool:
        """Whether something is measured on text before the files are made."""
        return bool(self.fit) or (self.weighs and self.imatrix == "auto")


def run(context: Context) -> Metrics:
    config, inputs, out = context.section(ExportConfig), context.inputs, context.out
    corpus = read_corpus(inputs["gather"], inputs["clean"])
    given = given_imatrix(config.imatrix, context.base)
    model = Model(
        huggingface=inputs["convert"],
        base=out / f"{context.name}-f16.gguf",
        metadata=_metadata(context.name, corpus.sources),
        windows=_calibration(inputs, config) if config.calibrates else (),
    )
    total = 1 + config.weighs + len(config.quant) + len(config.fit) + MEASURING * bool(config.fit) + PROVING
    with context.progress(total, "steps") as bar:
        files = _write_files(model, config, given, bar)
        proof = prove(
            {name: out / entry["file"] for name, entry in files.items()},
            model.base,
            inputs,
            tokens=config.proof_tokens,
            calibration=config.imatrix_tokens,  # always, so that the text is the same whatever files are asked for
            advance=lambda share: bar.advance(PROVING * share, "proof"),
        )
    if given:
        proof["text"]["apart_from_calibration"] = "unknown"
    if (measured := proof["text"]["tokens"]) < ENOUGH:
        context.warn(f"the files were compared on {measured:,} tokens of validation text only: a rough measure")
    if "f16" not in config.quant:
        model.base.unlink()
    for name, entry in files.items():
        entry |= proof["files"][name]
        _tell(context, entry)
    (out / "proof.json").write_text(json.dumps(proof, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copytree(
        model.huggingface, out / "huggingface", ignore=shutil.ignore_patterns(MANIFEST), copy_function=share
    )
    chosen = files[next(name for name in (*(f"fit-{fit}" for fit in config.fit), *PREFERRED) if name in files)]["file"]
    _write_texts(context, config, chosen, corpus, files, proof)
    return {"files": files, "proof": proof, "modelfile": chosen}


def _write_files(model: Model, config: ExportConfig, given: Path | None, bar: ProgressBar) -> dict[str, Entry]:
    """The F16 file that all others are made from, and those that were asked for, with what is told of each."""
    if given and not given.is_file():
        raise StageError(f"export: there is no importance matrix {given}", hint="export.imatrix: auto makes one")
    write_gguf(model.huggingface, model.base, file_type="f16", metadata=model.metadata)
    check_sizes(model, config.fit)
    bar.advance(note=model.base.name)
    importance = NONE
    if config.weighs:
        importance = given_importance(model, given) if given else measured_importance(model, bar.advance)
    files = {}
    for quant in config.quant:
        files[quant] = write_named(model, quant, importance)
        bar.advance(note=files[quant]["file"])
    if config.fit:
        entries = write_fits(model, config.fit, importance, lambda share: bar.advance(MEASURING * share, "measuring"))
        for fit, entry in zip(config.fit, entries, strict=True):
            files[f"fit-{fit}"] = entry
            bar.advance(note=entry["file"])
    return files


def _tell(context: Context, entry: Entry) -> None:
    figures = f"KL {entry['kl']:.5f}, perplexity {entry['perplexity']:.3f}"
    context.say(f"{entry['file']}  {size(entry['bytes'])}, {figures}")
    if fallen := entry["fallbacks"]:
        shown = ", ".join(f"{name} {used}" for name, used in list(fallen.items())[:3])
        more = ", …" if len(fallen) > 3 else ""
        context.warn(f"{entry['file']}: kept finer, as their rows are not ×256 wide ({len(fallen)}): {shown}{more}")


def estimate(sections: Mapping[str, Section]) -> list[str]:
    """Which widths of the model cannot have the types that are asked for, for `plan`: before it is trained."""
    shape, config = sections["model"], sections["export"]
    assert isinstance(shape, ModelConfig) and isinstance(config, ExportConfig)
    if shape.init_from:  # it brings its own shape
        return []
    widths = {"d_model": shape.d_model, "n_heads x head_dim": shape.n_heads * shape.head_dim, "d_ff": shape.d_ff}
    quants = (*config.quant, *(("q4_k_m",) if config.fit else ()))
    nearest = awkward(widths, quants)
    if not nearest:
        return []
    told = ", ".join(f"{name} {widths[name]} (nearest that fits: {better})" for name, better in nearest.items())
    hindered = dict.fromkeys(quant for quant in quants if awkward(widths, [quant]))
    return [f"warning: rows of {told} cannot have the types of {', '.join(hindered)}; their matrices become larger"]


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """The content of an importance matrix that is not made here."""
    path = given_imatrix(sections["export"].model_dump()["imatrix"], base)
    return sha256_file(path) if path and path.is_file() else None


def given_imatrix(imatrix: str, base: Path) -> Path | None:
    """The file that `export.imatrix` names, if it does."""
    return None if imatrix in ("auto", "off") else base / imatrix


def _calibration(inputs: Mapping[str, Path], config: ExportConfig) -> Windows:
    found = validation_windows(
        inputs["clean"] / "val",
        load_encoding(inputs["tokenizer"]),
        json.loads((inputs["finetune"] / "model.json").read_bytes())["context_length"],
        tokens=config.proof_tokens,
        calibration=config.imatrix_tokens,
    )
    return [window[:-1] for window in found.calibration]  # the last id is no input


def _metadata(name: str, sources: Sequence[Source]) -> GgufMetadata:
    return GgufMetadata(
        name=name,
        license=combined_license(sources),
        description="A small language model trained with pipeline.",
        datasets=tuple(Dataset(name=source.name, description=source.terms) for source in sources),
    )


def combined_license(sources: Iterable[Source]) -> str:
    """One SPDX expression for all licences together."""
    licenses = sorted({source.license for source in sources})
    return " AND ".join(f"({license})" if " OR " in license and len(licenses) > 1 else license for license in licenses)


def _write_texts(
    context: Context,
    config: ExportConfig,
    chosen: str,
    corpus: Corpus,
    files: Mapping[str, Entry],
    proof: Mapping[str, Any],
) -> None:
    inputs = context.inputs
    fim = trained_with_gaps(inputs["tokenize"], load_encoding(inputs["tokenizer"]))
    license_text = "Trained on:\n" + "".join(
        f"- {source.name}: {source.terms}; {source.documents} documents\n" for source in corpus.sources
    )
    facts = facts_of(inputs, context.name, files, proof, chosen, corpus=corpus, fim=fim)
    modelfile = Modelfile(
        gguf=chosen,
        context_length=facts.shape["context_length"],
        num_predict=config.num_predict,
        temperature=config.temperature,
        system=facts.system,
        license=license_text,
        eos=json.loads((inputs["convert"] / "tokenizer_config.json").read_bytes())["eos_token"],
        answers=facts.answers,
        fim=fim,
        repeat_penalty=config.repeat_penalty,
    )
    texts = {
        "Modelfile": modelfile.render(),
        "LICENSE": license_text,
        "README.md": model_card(facts),
    }
    if found := notices(inputs["gather"], read_documents(inputs["clean"] / "train")):
        texts["NOTICES.txt"] = found
    for name, text in texts.items():
        (context.out / name).write_text(text, encoding="utf-8", newline="\n")
    write_sums(context.out)


STAGE = Stage(
    name="export",
    version=4,
    module=__name__,
    run=run,
    sections={"export": ExportConfig},
    named=True,
    needs=("convert", "finetune", "tokenize", "tokenizer", "clean", "gather"),
    publish=publish,
    fingerprint=fingerprint,
    estimate=estimate,
)
