"""The sections on data: the way of the corpus to tokens, what it is made of, how long it is, and the tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from stages.evaluation.page.blocks import Bar, Bars, Block, Figure, Grid, Key, Note, Section, Table, bars_of
from stages.evaluation.page.charts import columns
from stages.evaluation.page.run import Run, unused_pieces
from stages.evaluation.page.values import (
    count,
    counts,
    dig,
    line,
    mapping,
    number,
    plain,
    plural,
    rows,
    share,
    total,
    weight,
)

KINDS = (("code", "code"), ("docs", "documentation"), ("pair", "conversations"))
MOST_REASONS = 12


def section(run: Run) -> Iterator[Section]:
    if run.metrics("gather") is None and run.metrics("tokenize") is None:
        return
    lead = "What was gathered, what of it became training text, and why the rest was left out."
    yield Section("corpus", "Corpus", [*_way(run), *_composition(run), *_lengths(run)], lead)
    if blocks := list(_tokenizer(run)):
        yield Section("tokenizer", "Tokenizer", blocks)


# -- the way from files to tokens --------------------------------------------------------------------------------------


def _way(run: Run) -> Iterator[Block]:
    panels = [*_files(run), *_text(run), *_tokens(run)]
    if panels:
        yield Grid(panels)
    if missing := mapping(run.metrics("gather", "without")):
        cells = [(line(name), line(missing[name], 300)) for name in sorted(missing)[:20]]
        yield Table(("source that could not be had", "why"), cells)
    if masked := counts(run.metrics("clean", "masked")):
        told = ", ".join(f"{count(amount)} × {line(what, 40)}" for what, amount in masked[:12])
        yield Note(f"Secrets masked in the text: {told}.")


class _Fall:
    """A waterfall: what there is, what is taken from it, and what stays."""

    def __init__(self, whole: float) -> None:
        self.whole = max(whole, 1e-9)
        self.left = whole
        self.bars: list[Bar] = []

    def level(self, label: str, amount: float, value: str, tone: str = "keep", start: float = 0.0) -> None:
        self.bars.append(Bar(label, value, 100 * start / self.whole, 100 * min(amount / self.whole, 1.0), tone))

    def drop(self, reasons: list[tuple[str, float, str]]) -> None:
        shown, rest = reasons[:MOST_REASONS], reasons[MOST_REASONS:]
        if rest:
            shown.append((f"{len(rest):,} more reasons", sum(amount for _, amount, _ in rest), ""))
        for label, amount, value in shown:
            self.left = max(self.left - amount, 0.0)
            start, wide = 100 * self.left / self.whole, 100 * min(amount / self.whole, 1.0)
            self.bars.append(Bar(f"− {line(label, 60)}", f"−{value or count(amount)}", start, wide, "drop"))


def _files(run: Run) -> Iterator[Bars]:
    taken = run.number("gather", "files")
    if taken is None:
        return
    lost = [("kind not read: " + name, amount) for name, amount in counts(run.metrics("gather", "skipped"))]
    lost += counts(run.metrics("gather", "refused"))
    unread = counts(run.metrics("extract", "left_out"))
    fall = _Fall(taken + sum(amount for _, amount in lost))
    if lost:
        fall.level("found", fall.whole, count(fall.whole))
        fall.drop([(why, amount, "") for why, amount in sorted(lost, key=lambda pair: (-pair[1], pair[0]))])
    fall.level("gathered", taken, count(taken))
    if run.metrics("extract") is not None:
        fall.drop([(why, amount, "") for why, amount in unread])
        read = max(taken - sum(amount for _, amount in unread), 0)
        fall.level("with text", read, count(read), "result")
    yield Bars("Files", fall.bars, weight(run.number("gather", "bytes")) + " gathered")


def _text(run: Run) -> Iterator[Bars]:
    sizes, documents = mapping(run.metrics("clean", "characters")), mapping(run.metrics("clean"))
    sides = {side: total(sizes.get(side)) for side in ("dropped", "train", "val")}
    if not sum(sides.values()):
        if characters := run.number("extract", "characters"):
            yield Bars("Text, in characters", [Bar("extracted", count(characters), 0.0, 100.0, "result")])
        return
    fall = _Fall(sum(sides.values()))
    found = sum(total(documents.get(side)) for side in sides)
    fall.level("extracted", fall.whole, count(fall.whole))
    amounts = mapping(documents.get("dropped"))
    reasons = counts(sizes.get("dropped"))
    fall.drop([(f"{why} ({count(number(amounts.get(why)))})", size, count(size)) for why, size in reasons])
    kept = sides["train"] + sides["val"]
    if sides["dropped"]:
        fall.level("kept", kept, count(kept))
    held, used = total(documents.get("val")), total(documents.get("train"))
    fall.level(f"held back for validation ({count(held)})", sides["val"], count(sides["val"]), "held", sides["train"])
    fall.level(f"for training ({count(used)})", sides["train"], count(sides["train"]), "result")
    dropped = total(amounts)
    told = f"{plural(found, 'document')}, {count(dropped) if dropped else 'none'} of them dropped"
    yield Bars("Text, in characters (documents)", fall.bars, told)


def _tokens(run: Run) -> Iterator[Bars]:
    amounts = {
        side: run.number("tokenize", side, "tokens") or 0.0 for side in ("train", "train_pairs", "val", "val_pairs")
    }
    if not sum(amounts.values()):
        return
    said: list[tuple[str, float, str]] = []
    for side, name, unit in (
        ("train", "text to train on", "documents"),
        ("train_pairs", "conversations to train on", "conversations"),
        ("val", "text held back", "documents"),
        ("val_pairs", "conversations held back", "conversations"),
    ):
        if amounts[side]:
            held = count(run.number("tokenize", side, unit))
            said.append((f"{name} ({held})" if held else name, amounts[side], count(amounts[side])))
    widest = max(amount for _, amount, _ in said)
    bars = [Bar(label, text, 0.0, 100 * a / widest, "held" if "held" in label else "result") for label, a, text in said]
    long = sum(run.number("tokenize", side, "too_long") or 0.0 for side in ("train_pairs", "val_pairs"))
    variants = run.number("augment", "variants")
    told = [f"{plural(long, 'conversation')} longer than the context left out"] if long else []
    if variants:
        methods = [f"{line(name, 30)} {count(amount)}" for name, amount in counts(run.metrics("augment", "methods"))]
        named = f" ({', '.join(methods)})" if methods else ""
        told.append(f"with {plural(variants, 'variant')} by augment{named}")
    yield Bars("Tokens (documents, conversations)", bars, " · ".join(told))


# -- what it is made of ------------------------------------------------------------------------------------------------


def _composition(run: Run) -> Iterator[Block]:
    panels = [*_training_text(run)]
    formats = mapping(run.metrics("extract", "formats"))
    sizes = counts({name: dig(entry, "characters") for name, entry in formats.items()})
    if sizes:
        named = [(f"{line(n, 30)} ({count(number(dig(formats[n], 'files')))})", size) for n, size in sizes]
        panels.append(_parts("Format, of the extracted characters (files)", named))
    told = run.metrics("tokenize", "composition")
    if not told and (licences := counts(run.metrics("gather", "licenses"))):
        named = [(line(name, 60) or "none told", amount) for name, amount in licences]
        panels.append(_parts("Licence, of the gathered files", named))
    sources = _sources(run)
    if sources and not told:
        panels.append(
            _parts(
                "Source, of the gathered bytes (files)",
                [(f"{n} ({count(files)})", size) for n, _, files, size in sources],
            )
        )
    if panels:
        yield Grid(panels)
    if sources:
        cells = [(name, licence, count(files), weight(size)) for name, licence, files, size in sources[:100]]
        yield Table(("source", "licence", "files", "size"), cells, 2, folded="All sources with their licences")


def _training_text(run: Run) -> Iterator[Bars]:
    """Kinds, and where it is told sources and licences, of what the model learns from."""
    names = dict(KINDS)
    told = [mapping(each) for each in rows(run.metrics("tokenize", "composition"))]
    for what, title in (("kind", "Kind"), ("source", "Source"), ("license", "Licence")):
        amounts: dict[str, float] = {}
        for each in told:
            name = str(each.get(what) or "none told")
            amounts[name] = amounts.get(name, 0.0) + (number(each.get("tokens")) or 0.0)
        if found := counts(amounts):
            yield _parts(
                f"{title}, of the training tokens", [(line(names.get(n, n), 60), amount) for n, amount in found]
            )
    if not told and (sizes := counts(run.metrics("clean", "characters", "train"))):
        yield _parts("Kind, of the training characters", [(line(names.get(n, n), 60), amount) for n, amount in sizes])


def _parts(title: str, amounts: list[tuple[str, float]]) -> Bars:
    whole = sum(amount for _, amount in amounts) or 1.0
    return bars_of(title, [(name, amount, share(amount / whole)) for name, amount in amounts])


def _sources(run: Run) -> list[tuple[str, str, float, float]]:
    """Name, licence, files and bytes of each source, the largest first, from the folders that gather numbered."""
    if listed := [mapping(each) for each in rows(run.metrics("gather", "sources"))]:
        known = [
            (line(each.get("source") or "?", 60), line(each.get("license") or "none told", 40),
             number(each.get("files")) or 0.0, number(each.get("bytes")) or 0.0)
            for each in listed
        ]  # fmt: skip
        return sorted(known, key=lambda entry: (-entry[3], entry[0]))
    files: dict[int, list[float]] = {}
    for name, entry in mapping(run.manifests.get("gather", {}).get("files")).items():
        parts = str(name).split("/")
        if parts[0] == "files" and len(parts) > 2 and parts[1].isdecimal():
            files.setdefault(int(parts[1]), []).append(number(dig(entry, "size")) or 0.0)
    found = []
    for place, source in enumerate(rows(run.config("gather", "gather", "sources"))):
        told = mapping(source)
        name = next((str(told[key]) for key in ("folder", "package", "git", "url") if told.get(key)), f"source {place}")
        if sizes := files.get(place):
            found.append((line(name, 60), line(told.get("license") or "none told", 40), float(len(sizes)), sum(sizes)))
    return sorted(found, key=lambda entry: (-entry[3], entry[0]))


# -- lengths -----------------------------------------------------------------------------------------------------------


def _lengths(run: Run) -> Iterator[Block]:
    told = mapping(run.metrics("tokenize", "lengths")) or mapping(run.metrics("clean", "lengths"))
    edges = [number(edge) for edge in rows(told.get("edges"))]
    rising = [math.inf if edge is None else edge for edge in edges]
    stacks = []
    legend = []
    for colour, (kind, name) in enumerate(KINDS):
        amounts = [number(each) or 0.0 for each in rows(told.get(kind))]
        if len(amounts) == len(edges) - 1 and any(amounts):
            stacks.append((colour, amounts))
            legend.append((kind, Key(name, colour, dot=True)))
    if not stacks or len(rising) > 200 or any(a >= b for a, b in pairwise(rising)):
        if run.metrics("tokenize") is not None:
            yield Note("How long the documents are is not told by this version of tokenize.", quiet=True)
        return
    context = run.number("tokenize", "context_length")
    drawn = columns(
        "Lengths of documents", rising, stacks, x_label="tokens", y_label="documents",
        marked=context, marked_label="context",
    )  # fmt: skip
    cells = [
        (f"{count(low)} to {'∞' if math.isinf(high) else count(high)}", *(count(values[i]) for _, values in stacks))
        for i, (low, high) in enumerate(pairwise(rising))
    ]
    table = Table(("tokens", *(key.label for _, key in legend)), cells, len(stacks))
    longer = sum(amount for _, amount in counts(run.metrics("tokenize", "longer_than_context")))
    told_over = f"{plural(longer, 'document')} of code and documentation go over a context." if longer else ""
    yield Grid([Figure("Lengths of documents", drawn, told_over, [key for _, key in legend], table)])


# -- the tokenizer -----------------------------------------------------------------------------------------------------


def _tokenizer(run: Run) -> Iterator[Block]:
    vocabulary = run.number("tokenizer", "vocab_size") or run.number("tokenize", "vocab_size")
    if vocabulary is None:
        return
    kind = run.config("tokenizer", "tokenizer", "kind")
    packed = run.number("tokenizer", "bytes_per_token")
    said = f"{count(vocabulary)} pieces" + (f" of kind {line(kind, 30)}" if kind else "")
    said += f"; {plain(packed)} bytes of held-back text per token" if packed else ""
    unused, part = unused_pieces(run)
    if unused is not None:
        said += (
            f". {plural(unused, 'piece')}{f' ({share(part)})' if part is not None else ''} never occur in training text"
        )
    yield Note(f"{said}.")
    panels: list[Bars | Figure] = []
    if by_kind := counts(run.metrics("tokenizer", "pieces", "bytes_per_token")):
        names = dict(KINDS)
        panels.append(
            bars_of("Bytes per token by kind", [(line(names.get(n, n), 40), a, plain(a)) for n, a in by_kind])
        )
    if panels:
        yield Grid(panels)
    if longest := rows(run.metrics("tokenizer", "pieces", "longest")):
        cells = [(line(_piece(str(piece)), 60), count(len(str(piece)))) for piece in longest[:20]]
        yield Table(("piece", "characters"), cells, 1, folded="The longest pieces", code=True)
    if unused is None:
        yield Note("Which pieces are used is not told by this version of tokenize.", quiet=True)


def _piece(piece: str) -> str:
    """A piece whose blanks can be seen."""
    return piece.replace(" ", "␣").replace("▁", "␣").replace("\n", "⏎").replace("\t", "⇥")
