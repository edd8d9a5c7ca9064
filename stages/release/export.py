"""Make the release: GGUF files proven in llama.cpp, a Modelfile, a model card and checksums."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from pipeline.console import size
from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from pipeline.store import MANIFEST, sha256_file
from stages.corpus.documents import Document, read_documents
from stages.release.card import Source, model_card
from stages.release.gguf import Dataset, GgufMetadata, write_gguf
from stages.release.modelfile import Modelfile, create_command
from stages.release.notices import notices
from stages.release.quantize import QUANTS, fallbacks, quantize, read_shapes
from stages.release.runtime import Runtime
from stages.tokens.encoding import Encoding, load_encoding

PREFERRED = ("q4_k_m", "q5_k_m", "q6_k", "q8_0", "q4_0", "f16", "bf16", "f32")
SUMS = "SHA256SUMS"
ROUNDING = 0.02  # of the spread of the logits in one place: far above what float16 does, far below another matrix


class ExportConfig(Section):
    """`quant` names the files to write; the Modelfile takes the smallest of the good ones, `q4_k_m` first."""

    quant: Annotated[tuple[str, ...], Field(min_length=1)] = ("f16", "q8_0", "q4_k_m")
    num_predict: Annotated[int, Field(ge=1)] = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2

    @field_validator("quant")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name.lower() not in QUANTS]
        if unknown:
            raise ValueError(f"unknown quantisation {', '.join(unknown)}; known: {', '.join(QUANTS)}")
        return tuple(dict.fromkeys(name.lower() for name in names))


def run(context: Context) -> Metrics:
    config = context.section(ExportConfig)
    huggingface, out = context.inputs["convert"], context.out
    sources = corpus_sources(read_documents(context.inputs["clean"] / "train"))
    metadata = GgufMetadata(
        name=context.name,
        license=combined_license(sources),
        description="A small language model trained with pipeline.",
        datasets=tuple(Dataset(name=source.name, description=source.terms) for source in sources),
    )
    base = out / f"{context.name}-f16.gguf"
    files: dict[str, dict[str, Any]] = {}
    with context.progress(len(config.quant) + 2, "files") as bar:
        write_gguf(huggingface, base, file_type="f16", metadata=metadata)
        bar.advance(note=base.name)
        proof = prove(base, context.inputs, documents=read_documents(context.inputs["clean"] / "val"))
        bar.advance()
        for quant in config.quant:
            path = out / f"{context.name}-{quant}.gguf"
            fallen = _write(quant, base, path, huggingface, metadata)
            if fallen:
                context.warn(
                    f"{path.name}: {len(fallen)} tensors are not ×256 wide and are kept finer: {_listed(fallen)}"
                )
            files[quant] = {"file": path.name, "bytes": path.stat().st_size, "fallbacks": fallen}
            bar.advance(note=path.name)
    if "f16" not in config.quant:
        base.unlink()
    shutil.copytree(huggingface, out / "huggingface", ignore=shutil.ignore_patterns(MANIFEST))
    chosen = files[next(name for name in PREFERRED if name in files)]["file"]
    _write_texts(context, config, chosen, sources, files, proof)
    context.say(", ".join(f"{entry['file']} {size(entry['bytes'])}" for entry in files.values()))
    return {"files": files, "proof": proof, "modelfile": chosen}


def _write(quant: str, base: Path, path: Path, huggingface: Path, metadata: GgufMetadata) -> dict[str, str]:
    """One GGUF; returns the tensors that could not have the type of the mix, with the type they have."""
    if quant == "f32":
        write_gguf(huggingface, path, file_type="f32", metadata=metadata)
    elif quant != "f16":
        quantize(base, path, quant)
    return {name: fallen.used for name, fallen in fallbacks(read_shapes(base), quant).items()}


def _listed(fallen: dict[str, str]) -> str:
    shown = [f"{name} {used}" for name, used in list(fallen.items())[:3]]
    return ", ".join(shown) + (", …" if len(fallen) > 3 else "")


def _write_texts(
    context: Context,
    config: ExportConfig,
    chosen: str,
    sources: Sequence[Source],
    files: dict[str, dict[str, Any]],
    proof: dict[str, Any],
) -> None:
    shape = json.loads((context.inputs["finetune"] / "model.json").read_bytes())
    system = json.loads((context.inputs["tokenize"] / "meta.json").read_bytes())["system"]
    roles = json.loads((context.inputs["convert"] / "tokenizer_config.json").read_bytes())
    license_text = "Trained on:\n" + "".join(
        f"- {source.name}: {source.terms}; {source.documents} documents\n" for source in sources
    )
    modelfile = Modelfile(
        gguf=chosen,
        context_length=shape["context_length"],
        num_predict=config.num_predict,
        temperature=config.temperature,
        system=system,
        license=license_text,
        eos=roles["eos_token"],
    )
    texts = {
        "Modelfile": modelfile.render(),
        "LICENSE": license_text,
        "README.md": model_card(context.name, shape, sources, files, proof, chosen),
    }
    if told := notices(context.inputs["gather"], read_documents(context.inputs["clean"] / "train")):
        texts["NOTICES.txt"] = told
    for name, text in texts.items():
        (context.out / name).write_text(text, encoding="utf-8", newline="\n")
    paths = sorted(path for path in context.out.rglob("*") if path.is_file())
    sums = "".join(f"{sha256_file(path)}  {path.relative_to(context.out).as_posix()}\n" for path in paths)
    (context.out / SUMS).write_text(sums, encoding="utf-8", newline="\n")


def corpus_sources(documents: Iterable[Document]) -> list[Source]:
    """Each source with its licence and number of documents, from the documents themselves.

    A folder that was declared with several licences is there once for each.
    """
    found = Counter((each.source, each.license, str(each.meta.get("attribution", ""))) for each in documents)
    return [Source(*terms, documents=count) for terms, count in sorted(found.items())]


def combined_license(sources: Iterable[Source]) -> str:
    """One SPDX expression for all licences together."""
    licenses = sorted({source.license for source in sources})
    return " AND ".join(f"({license})" if " OR " in license and len(licenses) > 1 else license for license in licenses)


def prove(gguf: Path, inputs: Any, *, documents: Iterable[Document]) -> dict[str, Any]:
    """Compare the F16 file in llama.cpp with the training model: token ids, and the likeliest next token.

    Raises StageError where any token id differs on the validation documents, where a text does not start with exactly
    one start of text, or where the likeliest token clearly differs in more than one place of a hundred: then tensors
    are in the wrong place, and the model would talk fluent nonsense. Two tokens that are as likely but for ROUNDING may
    change places.
    """
    import torch

    from stages.training.model import load_model

    encoding = load_encoding(inputs["tokenizer"])
    model = load_model(inputs["finetune"])
    texts = [document.text for document in documents]
    with Runtime(gguf) as runtime:
        compared = check_tokens(runtime, encoding, texts)
        tokens = [encoding.bos_id, *encoding.encode("\n".join(texts))][: model.context_length]
        theirs = torch.from_numpy(runtime.logits(tokens))
    with torch.no_grad():
        ours = model(torch.tensor([tokens]))[0]
    agreement = float((theirs.argmax(-1) == ours.argmax(-1)).float().mean())
    behind = ours.max(-1).values - ours.gather(1, theirs.argmax(-1, keepdim=True))[:, 0]
    if float((behind > ROUNDING * ours.std(-1)).float().mean()) > 0.01:
        raise StageError(
            f"export: {gguf.name} in llama.cpp agrees with the trained model on {agreement:.1%} of tokens only"
        )
    return {
        "tokens_compared": compared,
        "top1_agreement_f16": round(agreement, 5),
        "max_logit_difference_f16": round(float((theirs - ours).abs().max()), 5),
    }


def check_tokens(runtime: Runtime, encoding: Encoding, texts: Iterable[str]) -> int:
    """How many ids were compared between llama.cpp and the trainer's tokenizer; StageError where any differs."""
    compared = 0
    for text in texts:
        ours = encoding.encode(text)
        if ours != runtime.tokenize(text):
            raise StageError(f"export: llama.cpp gives other token ids for {text[:60]!r}…")
        if runtime.tokenize(text, add_special=True) != [encoding.bos_id, *ours]:
            raise StageError(f"export: llama.cpp does not give {text[:60]!r}… the one start of text that training gave")
        compared += len(ours)
    return compared


def publish(artifact: Path, name: str, exports: Path) -> str:
    """Make `exports/<name>/` the same as the artifact, and return the command that takes it to Ollama."""
    target = exports / name
    if not _is_published(target, (artifact / SUMS).read_bytes()):
        _replace(target, artifact)
    return " ".join(create_command(name, target))


def _replace(target: Path, artifact: Path) -> None:
    exports, name = target.parent, target.name
    exports.mkdir(parents=True, exist_ok=True)
    fresh, old = exports / f".{name}.new", exports / f".{name}.old"
    if old.exists() and not target.exists():
        old.rename(target)  # a crash between the two renames below; what follows may fail, too
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        shutil.copytree(artifact, fresh, ignore=shutil.ignore_patterns(MANIFEST))
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if target.exists():
        target.rename(old)
    os.rename(fresh, target)  # noqa: PTH104
    shutil.rmtree(old, ignore_errors=True)


def _is_published(target: Path, wanted: bytes) -> bool:
    try:
        if (target / SUMS).read_bytes() != wanted:
            return False
        listed = [line.split("  ", 1) for line in wanted.decode().splitlines()]
        return all(sha256_file(target / name) == digest for digest, name in listed)
    except OSError:
        return False


STAGE = Stage(
    name="export",
    version=3,
    module=__name__,
    run=run,
    sections={"export": ExportConfig},
    named=True,
    needs=("convert", "finetune", "tokenize", "tokenizer", "clean", "gather"),
    publish=publish,
)
