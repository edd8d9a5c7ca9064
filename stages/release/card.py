"""The model card: what the model was made from and how, what was measured, how to run it, and what it is not for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.console import count, duration, size
from stages.release.facts import Corpus, Facts, lineage, read_corpus
from stages.release.frontmatter import front_matter, hub_datasets, hub_model, license_fields, model_index
from stages.release.gguf import DIFFERENCES
from stages.release.markdown import block, code, line, plain, table
from stages.release.usage import CHAT, FROM_HERE, HUGGINGFACE, usage

ARCHITECTURES = {"llama": "Llama", "qwen3": "Qwen3", "gpt2": "GPT-2"}

# What is measured of a file: the key of its entry, the heading of its column, and how the number is written.
MEASURES = (
    ("bits_per_weight", "bits per weight", "{:.2f}"),
    ("kl", "KL to F16", "{:.3g}"),
    ("kl_99", "its 99th percentile", "{:.3g}"),
    ("top1", "same likeliest token", "{:.2%}"),
    ("perplexity", "perplexity", "{:.3f}"),
    ("bits_per_byte", "bits per byte", "{:.4f}"),
)
SAME_TEXT = (
    "There was too little text held back to part it: files were calibrated on the very text that they were measured "
    "on, and look better than they are."
)


def facts_of(
    inputs: Mapping[str, Path],
    name: str,
    files: Mapping[str, Mapping[str, Any]],
    proof: Mapping[str, Any],
    chosen: str,
    *,
    corpus: Corpus | None = None,
    fim: bool | None = None,
) -> Facts:
    """What the card tells, from the artifacts that a release was made of and the manifests of all that led to these.

    `inputs` holds at least clean, finetune, tokenize and gather. `fim` says that the model learnt to fill gaps; by
    default the manifest of augment says it.
    """
    manifests = lineage(inputs)
    methods = manifests.get("augment", {}).get("metrics", {}).get("methods", {})
    calibrated = any(entry.get("imatrix") or entry.get("types") for entry in files.values())
    same = calibrated and proof.get("text", {}).get("apart_from_calibration") == "nothing"
    return Facts(
        name=name,
        shape=json.loads((inputs["finetune"] / "model.json").read_bytes()),
        system=json.loads((inputs["tokenize"] / "meta.json").read_bytes())["system"],
        corpus=corpus or read_corpus(inputs["gather"], inputs["clean"]),
        files=files,
        chosen=chosen,
        manifests=manifests,
        proven=sentences(proof),
        notes=[SAME_TEXT] * same,
        fim="fim" in methods if fim is None else fim,
    )


def sentences(proof: Mapping[str, Any]) -> list[str]:
    """What was proven, from what `stages.release.proof.prove` found."""
    told = []
    if compared := proof.get("tokens_compared"):
        strings = (
            f", and {proof['nasty_tokens_compared']:,} of {nasty:,} strings made to tell tokenizers apart,"
            if (nasty := proof.get("nasty_strings"))
            else ""
        )
        told.append(
            f"Token ids: {compared:,} ids of the documents held back{strings} are the same in training, in "
            "transformers and in llama.cpp, and every text starts with exactly one start of text."
        )
    if (agreement := proof.get("top1_agreement_f16")) is not None:
        told.append(
            "Weights: the F16 file in llama.cpp has the likeliest next token of the trained weights in float32 in "
            f"{agreement:.2%} of places; no logit differs by more than {proof['max_logit_difference_f16']:g}."
        )
    chat = proof.get("chat", {})
    if chat.get("conversations"):
        stops = " or ".join(code(stop, cell=False) for stop in chat["stops"])
        told.append(
            f"Chat: {chat['conversations']:,} prompts and conversations, through the chat templates of the GGUF and of "
            f"transformers, give the ids that training had. An answer ends at {stops}."
        )
    if answers := chat.get("answers"):
        stopped = " After the surest llama.cpp was asked to go on, and stopped." if chat.get("stop_tested") else ""
        told.append(
            f"Ends: where {answers:,} answers of conversations held back end, the end is the likeliest token "
            f"{chat['ended']:,} times.{stopped}"
        )
    return told


def model_card(facts: Facts) -> str:
    """Markdown with the front matter that the Hugging Face Hub reads."""
    parts = [_front(facts), f"# {plain(facts.name)}", _summary(facts), _files(facts), usage(facts), _data(facts)]
    parts += [_training(facts), _proof(facts), _writer(facts), _limits(facts), _license(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(facts: Facts) -> str:
    corpus = facts.corpus
    folder = facts.manifests.get("pretrain", {}).get("material", {}).get("sources") is not None
    base = hub_model(facts.start, folder)
    results = [
        (key, f"{heading} ({entry['file']})", entry[key])
        for entry in facts.files.values()
        for key, heading, _ in MEASURES
        if key in ("perplexity", "bits_per_byte") and key in entry
    ]
    tags = ["gguf", "llama.cpp", "ollama", facts.family, "code" if corpus.kinds.get("code") else ""]
    return front_matter(
        {
            **license_fields((line(source.license) for source in corpus.sources), facts.start),
            "language": [*(["en"] if corpus.english else []), *(["code"] if corpus.kinds.get("code") else [])],
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "base_model": base,
            "base_model_relation": "finetune" if base else "",
            "datasets": hub_datasets(source.name for source in corpus.sources),
            "tags": [*filter(None, tags), *(["fill-in-the-middle"] if facts.fim else [])],
            "model-index": model_index(facts.name, "documents held back from training", results),
        }
    )


def _summary(facts: Facts) -> str:
    model, shape = facts.shape["model"], facts.shape
    weights = f" of {count(facts.parameters)} weights" if facts.parameters else ""
    origin = f"from {code(facts.start)}, whose own terms go with it" if facts.start else "from nothing"
    answers, fills = ["answers questions"] * facts.answers, ["fills gaps in programs"] * facts.fim
    *first, last = ["goes on with texts", *answers, *fills]
    does = f"{', '.join(first)} and {last}" if first else last
    rows = [
        ("architecture", ARCHITECTURES[facts.family]),
        ("layers · width · feed-forward", f"{model['n_layers']} · {model['d_model']} · {model['d_ff']}"),
        ("heads (for keys and values)", f"{model['n_heads']} ({model['n_kv_heads']})"),
        ("vocabulary", f"{shape['vocab_size']:,} pieces{_tokenizer(facts)}"),
        ("context", f"{shape['context_length']:,} tokens"),
    ]
    return (
        f"A small language model{weights} that {does}. It was trained {origin} on the sources below.\n\n"
        f"{table(('', ''), rows)}"
    )


def _tokenizer(facts: Facts) -> str:
    kind = {"sentencepiece": ", SentencePiece BPE", "byte_level": ", byte-level BPE"}
    return kind.get(facts.config("tokenizer").get("kind", ""), "")


def _files(facts: Facts) -> str:
    shown = [
        measure for measure in MEASURES if any(measure[0] in _measured(entry, facts) for entry in facts.files.values())
    ]
    rows = []
    for quant, entry in facts.files.items():
        known = _measured(entry, facts)
        cells = [form.format(known[key]) if known.get(key) is not None else "" for key, _, form in shown]
        rows.append([code(entry["file"]), code(quant.upper()), size(entry["bytes"]), *cells])
    head = ["file", "type", "size", *(heading for _, heading, _ in shown)]
    parts = ["## Files", table(head, rows, numbers=len(head) - 2)]
    scored = max((entry.get("tokens", 0) for entry in facts.files.values()), default=0)
    tokens = f" {scored:,} tokens of" if scored else ""
    if any("kl" in entry or "perplexity" in entry for entry in facts.files.values()):
        parts.append(
            f"All files were measured on the same{tokens} documents held back from training. KL is how far a file's "
            "predictions are from those of the F16 file, in nats per token, 0 being the same. Lower is better for all "
            "but the likeliest token, which is compared with that of F16."
        )
    parts += [*_rounding(facts.files.values()), *map(plain, facts.notes), _HERE]
    return "\n\n".join(parts)


def _rounding(files: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What the name of a type does not say of a file."""
    weighed = []
    for entry in files:
        name = code(entry["file"])
        if fallen := Counter(entry.get("fallbacks", {}).values()):
            why = "tensors whose rows are no multiple of 256 have another type than asked for"
            yield f"In {name} {why}: {_kinds(fallen)}."
        if types := entry.get("types"):
            yield f"In {name} the type of every matrix was chosen by what rounding it costs: {_kinds(types)}."
        if entry.get("imatrix"):
            weighed.append(name)
    if weighed:
        told = "an importance matrix, which says how much each column of a matrix matters"
        yield f"In {', '.join(weighed)} values were rounded with {told}."


def _kinds(types: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {code(kind)}" for kind, number in sorted(types.items()))


_HERE = (
    f"The folder `{HUGGINGFACE}/` holds the same model for transformers, in float32. `SHA256SUMS` has the checksum of "
    "every file: `sha256sum -c SHA256SUMS`."
)
_THERE = (
    "The other files are the same model for transformers, in float32. `SHA256SUMS` has the checksum of every file: "
    "`sha256sum -c SHA256SUMS`."
)


def _measured(entry: Mapping[str, Any], facts: Facts) -> Mapping[str, Any]:
    """What is known of a file; its bits per weight follow from its size where nobody measured them."""
    if "bits_per_weight" in entry or not facts.parameters:
        return entry
    return {"bits_per_weight": 8 * entry["bytes"] / facts.parameters, **entry}


def hub_card(card: str, repository: str) -> str:
    """The card as it is right in a repository on the Hub, where the files for transformers lie beside it."""
    here = "### Ollama\n"
    there = f"Fetch the files first: `hf download {repository} --local-dir .`\n\n{here}"
    if CHAT in card:  # the Hub's own way is by the chat template
        run = block(f"ollama run hf.co/{repository}", "sh")
        there += f"\nWith nothing fetched, but without the settings of the `Modelfile`:\n\n{run}\n\nOr with them:\n"
    for old, new in ((FROM_HERE, f'folder = "{repository}"'), (_HERE, _THERE), (here, there)):
        card = card.replace(old, new, 1)
    return card


def _data(facts: Facts) -> str:
    rows = [
        (code(each.name), plain(each.license), plain(each.attribution), f"{each.documents:,}", f"{each.characters:,}")
        for each in facts.corpus.sources
    ]
    head = ("source", "licence", "attribution", "documents", "characters")
    parts = ["## What it was made from", table(head, rows, numbers=2)]
    if without := facts.metrics("gather").get("without"):
        parts.append(f"Not at hand when it was made, and so not in it: {', '.join(map(code, without))}.")
    if cleaned := _cleaning(facts):
        parts.append(cleaned)
    if facts.corpus.notices:
        parts.append("Where a licence demands that its notice travels on, it is in `NOTICES.txt`.")
    return "\n\n".join(parts)


def _cleaning(facts: Facts) -> str:
    clean, augment = facts.metrics("clean"), facts.metrics("augment")
    told = []
    if clean:
        kept, held = (sum(clean[side].values()) for side in ("train", "val"))
        dropped = clean["dropped"]
        why = f" ({_counted(dropped)})" if dropped else ""
        out = sum(dropped.values())
        told.append(
            f"Of {kept + held + out:,} documents {out:,} were left out{why}; {held:,} were held back for validation, "
            "whole clusters of similar documents at a time."
        )
        if (highest := clean.get("similarity", {}).get("highest")) is not None:
            told.append(
                f"No document held back is similar to one trained on by more than {highest:g} (Jaccard, five words)."
            )
        if masked := clean.get("masked"):
            told.append(f"Masked: {_counted(masked)}.")
    if augment:
        made = _counted(augment["methods"])
        told.append(f"{augment['variants']:,} variants were made ({made})." if made else "No variants were made.")
    return " ".join(told)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {plain(what)}" for what, number in counts.items())


def _training(facts: Facts) -> str:
    stages = [stage for stage in ("pretrain", "finetune") if facts.metrics(stage).get("steps")]
    if not stages:
        return ""
    columns = [_trained(facts, stage) for stage in stages]
    rows = [[what, *(column.get(what, "") for column in columns)] for what in columns[0]]
    titles = {"pretrain": "on texts", "finetune": "on conversations"}
    text = "## Training\n\n" + table(["", *(titles[stage] for stage in stages)], rows)
    unigram = facts.metrics("pretrain").get("unigram_loss")
    if unigram is not None and "pretrain" in stages:
        text += f"\n\nGuessing each token by its frequency alone has a loss of {unigram:.3f} on the same texts."
    return text


def _trained(facts: Facts, stage: str) -> dict[str, str]:
    metrics, config, manifest = facts.metrics(stage), facts.config(stage), facts.manifests[stage]
    machine, packages = manifest.get("device", {}), manifest.get("packages", {})
    gpu = machine.get("gpu", "none")
    device = gpu if gpu != "none" else f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores"
    seconds = max(manifest.get("seconds", 0), metrics["tokens"] / metrics.get("tokens_per_second", float("inf")))
    loss = f"{metrics['val_loss']:.3f} nats per token (perplexity {metrics['perplexity']:.2f})"
    bits = f", {metrics['bits_per_byte']:.3f} bits per byte" if "bits_per_byte" in metrics else ""
    rate = f"{config['learning_rate']:g}" if "learning_rate" in config else ""
    return {
        "steps": f"{metrics['steps']:,}",
        "tokens": f"{metrics['tokens']:,} ({metrics.get('epochs', 0):g} epochs)",
        "loss on what was held back": loss + bits,
        "optimizer": plain(", ".join(filter(None, (config.get("optimizer"), config.get("schedule"), rate)))),
        "precision": plain(metrics.get("precision", "")),
        "machine": plain(device),
        "time": duration(seconds),
        "seed": str(manifest.get("seed", "")),
        "code": plain(f"{manifest.get('git') or 'no commit'}, torch {packages.get('torch', '?')}"),
    }


def _proof(facts: Facts) -> str:
    if not facts.proven:
        return ""
    return "## What was proven before this was released\n\n" + "\n".join(f"- {each}" for each in facts.proven)


def _writer(facts: Facts) -> str:
    listed = "\n".join(f"- {plain(told)}" for kind, told in DIFFERENCES if kind in ("", facts.family))
    return (
        "## How the files are written\n\nThe program that writes F32, F16 and BF16 was compared with llama.cpp's own "
        "converter while it was developed, not for this release: tensors were the same, bit for bit. Of the metadata "
        f"differ:\n\n{listed}"
    )


def _limits(facts: Facts) -> str:
    corpus, weights = facts.corpus, facts.parameters
    code_too = bool(corpus.kinds.get("code"))
    meant = (
        "short programs and answers" if code_too and facts.answers else "short programs" if code_too else "short texts"
    )
    small = f"With {count(weights)} weights it" if weights else "It"
    told = [
        f"It is meant for {meant} like those in its sources: to learn from, to try out, as a help in an editor, on a "
        "machine without a network.",
        f"{small} is tiny beside the models that most people know. It knows what its sources say and nothing else, and "
        "where it knows nothing it makes things up that sound right.",
    ]
    if code_too:
        told.append(
            "Its programs may not run, may call what does not exist, or may use the wrong pins. Read them, check pins "
            "and voltages against the datasheet, and test them before a board with something attached runs them."
        )
    told += [
        "It is not for anything where a mistake could hurt somebody or do damage: no medical, vehicle, mains or alarm "
        "equipment, and no decision about people.",
        f"It reads and writes at most {facts.shape['context_length']:,} tokens together, and forgets what was before.",
        "It was not taught to refuse anything, and has the habits and biases of its sources.",
    ]
    if corpus.english:
        told.append("It was trained on English; other languages it hardly understands.")
    return "## What it is for, and what not\n\n" + "\n".join(f"- {sentence}" for sentence in told)


def _license(facts: Facts) -> str:
    names = sorted({source.license for source in facts.corpus.sources})
    notices = " and the notices in `NOTICES.txt`" if facts.corpus.notices else ""
    start = f" It started from {code(facts.start)}: read that model's licence as well." if facts.start else ""
    return (
        f"## Licence\n\nThe texts it learnt from are under {', '.join(map(plain, names))}. Whether such licences bind "
        "the weights as well is not settled; who passes the model on does right by all of them with `LICENSE`, which "
        f"names every source{notices}.{start}"
    )
