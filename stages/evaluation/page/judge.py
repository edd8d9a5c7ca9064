"""The figures of a run, judged one by one: from where on each is good, and what to try where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stages.evaluation.page.figures import chosen_file, parameters, training_tokens
from stages.evaluation.page.finding import REPEATED, Finding, graded, longer
from stages.evaluation.page.run import Run, unused_pieces
from stages.evaluation.page.values import (
    Object,
    column,
    count,
    counts,
    dig,
    line,
    listed,
    mapping,
    number,
    plain,
    plural,
    points,
    share,
    short,
    total,
)

# From where on a figure is good, and from where on it is no longer weak.
SOLVED = (0.5, 0.1)
COMPILES = (0.8, 0.6)
ENDS = (0.95, 0.8)
UNKNOWN_NAMES = (0.02, 0.1)
COPIED = (0.01, 0.1)
DIVERGENCE = (0.02, 0.1)  # of a file from F16, nats per token
STILL_FALLING = 0.01  # of the loss, over the last quarter of the steps
OVERFITTED = 0.01  # above the lowest validation loss at the end
GAP = 0.2  # of the training loss, by which validation may be above it
TOKENS_PER_PARAMETER = 1.0  # far below the twenty that were found best where text is plenty (arXiv 2203.15556)
FEW_TOKENS, FEW_ANSWERS = 10_000, 20  # held back
NEAR = 0.6  # similarity of a held-back document to one of training
DUPLICATES, UNREAD, UNUSED = 0.2, 0.1, 0.1
ENDLESS, FALLING = "answers that do not stop", "a loss that was still falling"
UNLICENSED = frozenset({"", "none", "unknown", "noassertion", "proprietary", "unlicensed"})


# -- what it writes ----------------------------------------------------------------------------------------------------


def solves(run: Run) -> Iterator[Finding]:
    value = run.score("pass", "1", "value")
    if value is None:
        why = run.metrics("evaluate", "why_not")
        text = "Whether the programs work was not tried" + (f": {line(why, 200)}." if why else ".")
        yield Finding("unknown", text, "let the tasks run in the sandbox", run.again("evaluate.execute=true"))
        return
    grade = graded(value, SOLVED)
    ten = run.score("pass", "10", "value")
    later = f"; within ten tries {share(ten)}" if ten is not None else ""
    text = f"{share(value)} of the tasks are solved at the first try{later}."
    if grade == "good":
        yield Finding(grade, text)
    elif ten is not None and ten > 3 * value and ten > 0.1:
        text += " It often knows an answer that is not its likeliest."
        yield Finding(grade, text, *longer(run, "finetune"))
    else:
        yield Finding(grade, text, *longer(run, "pretrain"))


def compiles(run: Run) -> Iterator[Finding]:
    value = run.score("compile_rate", "value")
    if value is None:
        return
    grade = graded(value, COMPILES)
    text = f"{share(value)} of the answers compile."
    yield Finding(grade, text, *(("", "") if grade == "good" else longer(run, "pretrain")))


def ends(run: Run) -> Iterator[Finding]:
    value = run.score("ended", "value")
    if value is None:
        return
    grade = graded(value, ENDS)
    if grade == "good":
        yield Finding(grade, f"{share(value)} of the answers end by themselves.")
        return
    text = f"{share(1 - value)} of the answers do not end by themselves; they are cut off."
    limit = number(run.config("evaluate", "evaluate", "max_tokens"))
    if grade == "doubtful" and limit:
        asked = f"evaluate.max_tokens={2 * limit:.0f}"
        yield Finding(grade, text, "give answers twice the room, to see whether they would", run.again(asked), ENDLESS)
    else:
        yield Finding(grade, text, *longer(run, "finetune"), ENDLESS)


def knows_the_api(run: Run) -> Iterator[Finding]:
    value = run.score("unknown_api", "value")
    if value is None:
        return
    grade = graded(value, UNKNOWN_NAMES, more=False)
    uses = run.score("unknown_api", "uses")
    of = f" of {plural(uses, 'use')}" if uses else ""
    text = f"{share(value)}{of} of the API name something that it does not have."
    if grade == "good":
        yield Finding(grade, text)
        return
    yield Finding(
        grade,
        text,
        "add the stubs or the reference of the ports as sources of gather",
        brief="invented names of the API",
    )


def copies(run: Run) -> Iterator[Finding]:
    value, longest = run.score("verbatim", "share"), run.score("verbatim", "longest")
    if value is None:
        return
    grade = graded(value, COPIED, more=False)
    most = f"; the longest copy has {plural(longest, 'token')}" if longest else ""
    text = f"{share(value)} of what it writes stands in the training text word for word, 50 tokens at a time{most}."
    if grade == "good":
        yield Finding(grade, text)
        return
    steps = number(run.config("finetune", "finetune", "max_steps"))
    command = run.again(f"finetune.max_steps={max(steps // 2, 1):.0f}") if steps else ""
    yield Finding(grade, text, "repeat the pairs less, or add more of them", command, "text learnt by heart")


# -- training ----------------------------------------------------------------------------------------------------------


def validation(run: Run, stage: str) -> list[tuple[float, float]]:
    return column(run.metrics(stage, "validation"), 1)


def learns(run: Run) -> Iterator[Finding]:
    for stage, name in (("pretrain", "Pretraining"), ("finetune", "Finetuning")):
        if not run.number(stage, "steps"):
            continue
        yield from _curve(run, stage, name)
        rollbacks = run.number(stage, "rollbacks")
        if rollbacks:
            text = f"{name} blew up {plural(rollbacks, 'time')} and went back to a checkpoint."
            rate = number(run.config(stage, stage, "learning_rate"))
            command = run.again(f"{stage}.learning_rate={rate / 2:g}") if rate else ""
            yield Finding("doubtful", text, "halve the learning rate", command, "unsteady training")
    loss, unigram = run.number("pretrain", "val_loss"), run.number("pretrain", "unigram_loss")
    if loss is not None and unigram is not None and loss > 0.95 * unigram:
        text = f"Its loss of {plain(loss)} is hardly below {plain(unigram)}, which is what guessing by frequency gives."
        yield Finding("bad", text, *longer(run, "pretrain"), "next to nothing learnt")


def _curve(run: Run, stage: str, name: str) -> Iterator[Finding]:
    curve = validation(run, stage)
    steps = run.number(stage, "steps") or 0.0
    last = run.keeps_last(stage)
    if len(curve) < 2:
        if not last and run.number(stage, "best_step") == steps:
            text = f"{name} was best at its last step: more steps might have gone lower."
            yield Finding("doubtful", text, *longer(run, stage), FALLING)
        return
    best_step, best = min(curve, key=lambda point: (point[1], point[0]))
    end = curve[-1][1]
    before = next(loss for step, loss in reversed(curve) if step <= 0.75 * curve[-1][0] or step == curve[0][0])
    trained = points(run.metrics(stage, "curve", "step"), run.metrics(stage, "curve", "loss"))
    gap = end - sum(loss for _, loss in trained[-5:]) / len(trained[-5:]) if trained else 0.0
    where = number(run.config(stage, stage, "max_steps")) or steps
    if end > best * (1 + OVERFITTED) and last:
        text = (
            f"{name} went on past its lowest validation loss ({plain(best)} at step {count(best_step)}, {plain(end)} "
            f"at the end), as {stage}.keep asks. Whether it writes better for it was not compared."
        )
        yield Finding("unknown", text, "compare with the weights of the lowest loss", run.again(f"{stage}.keep=best"))
    elif end > best * (1 + OVERFITTED):
        text = (
            f"{name} overfits: the validation loss was {plain(best)} at step {count(best_step)} "
            f"and {plain(end)} at the end. The weights of the best step are kept."
        )
        command = run.again(f"{stage}.max_steps={best_step:.0f}")
        yield Finding(
            "doubtful", text, "stop about there, so that the learning rate ends with it", command, "overfitting"
        )
    elif before - end > STILL_FALLING * end:
        text = (
            f"The loss of {name.lower()} was still falling: from {plain(before)} to {plain(end)} over the last "
            f"{plural(curve[-1][0] - 0.75 * where, 'step')} or so."
        )
        yield Finding("doubtful", text, *longer(run, stage), FALLING)
    else:
        yield Finding("good", f"{name} has settled at a validation loss of {plain(end)}.")
    if trained and gap > GAP * (end - gap) and not end > best * (1 + OVERFITTED):
        known = f"{plain(end - gap)} against {plain(end)} nats per token"
        text = f"{name} knows its own text better than text held back: {known}."
        yield Finding(
            "doubtful",
            text,
            "add text, or raise dropout",
            run.again(f"model.dropout={(number(run.config('pretrain', 'model', 'dropout')) or 0.0) + 0.1:g}"),
            "training text known better than new text",
        )


def enough_text(run: Run) -> Iterator[Finding]:
    epochs = run.number("pretrain", "epochs")
    if epochs and epochs > REPEATED:
        yield Finding(
            "doubtful",
            f"Pretraining read its text {plain(epochs)} times.",
            "add sources to gather",
            brief="text read too often",
        )
    tokens, size = training_tokens(run), parameters(run)
    started = dig(run.manifests.get("pretrain"), "material", "config", "model", "init_from")
    if tokens and size and not started and tokens / size < TOKENS_PER_PARAMETER:
        text = f"{short(tokens)} tokens of text for {short(size)} parameters: the text is the limit, not the model."
        yield Finding(
            "doubtful",
            text,
            "add sources to gather, or start from a pretrained model (model.init_from)",
            brief="little text for its size",
        )


# -- the corpus --------------------------------------------------------------------------------------------------------


def corpus(run: Run) -> Iterator[Finding]:
    missing = mapping(run.metrics("gather", "without"))
    if missing:
        names = listed(line(name, 40) for name in sorted(missing)[:3])
        text = f"{plural(len(missing), 'source')} could not be had: {names}."
        command = run.command.replace("pipeline run", "pipeline run --force gather", 1)
        yield Finding("doubtful", text, "get them, then gather again", command, "missing sources")
    licences = dict(counts(run.metrics("gather", "licenses")))
    nameless = sum(amount for name, amount in licences.items() if name.strip().lower() in UNLICENSED)
    if nameless:
        text = f"{plural(nameless, 'file')} have no licence that can be told."
        yield Finding(
            "bad",
            text,
            "state the licence of each source in gather.sources, or leave the source out",
            brief="missing licences",
        )
    elif licences:
        yield Finding("good", f"Every file has a licence: {listed(line(name, 40) for name in sorted(licences)[:5])}.")
    left_out = total(run.metrics("extract", "left_out"))
    files = run.number("gather", "files")
    if files and left_out / files > UNREAD:
        text = f"{count(left_out)} of {plural(files, 'file')} gave no text."
        yield Finding("doubtful", text, "see which, and why", "pipeline show --dropped", "files that gave no text")
    yield from _duplicates(run)
    yield from _held_back(run)


def _duplicates(run: Run) -> Iterator[Finding]:
    sizes = mapping(run.metrics("clean", "characters"))
    repeated = sum(amount for why, amount in counts(sizes.get("dropped")) if "duplicate" in why)
    whole = sum(total(sizes.get(side)) for side in ("dropped", "train", "val"))
    if whole and repeated / whole > DUPLICATES:
        text = f"{share(repeated / whole)} of the text came twice and was dropped: the sources overlap."
        yield Finding(
            "doubtful", text, "leave out sources that are in others", "pipeline show --dropped", "sources that overlap"
        )
    near = run.number("clean", "similarity", "highest")
    if near is None:
        return
    if near >= NEAR:
        text = f"Held-back text is near to training text (similarity up to {plain(near)}): its loss flatters."
        yield Finding(
            "doubtful",
            text,
            "drop near duplicates sooner",
            run.again(f"clean.near_duplicate_threshold={NEAR}"),
            "validation text near to training text",
        )
    else:
        yield Finding("good", f"Nothing held back is near to training text: {plain(near)} alike at most.")


def _held_back(run: Run) -> Iterator[Finding]:
    tokens, answers = run.number("tokenize", "val", "tokens"), run.number("tokenize", "val_pairs", "conversations")
    fraction = number(run.config("clean", "clean", "val_fraction"))
    command = run.again(f"clean.val_fraction={min(2 * fraction, 0.5):g}") if fraction else ""
    few = []
    if tokens is not None and tokens < FEW_TOKENS:
        few.append(plural(tokens, "token") + " of text")
    if answers is not None and run.number("tokenize", "train_pairs", "conversations") and answers < FEW_ANSWERS:
        few.append(plural(answers, "conversation"))
    if few:
        yield Finding("doubtful", f"Only {listed(few)} are held back: the validation loss is a rough guess.",
                      "hold back more", command, "little held-back text")  # fmt: skip


def tokenizer(run: Run) -> Iterator[Finding]:
    unused, size = unused_pieces(run)[1], run.number("tokenizer", "vocab_size")
    if unused is not None and unused > UNUSED:
        text = f"{share(unused)} of the tokenizer's pieces never occur in the training text."
        command = run.again(f"tokenizer.vocab_size={size / 2:.0f}") if size else ""
        yield Finding("doubtful", text, "a smaller vocabulary", command, "pieces that are never used")


# -- the release -------------------------------------------------------------------------------------------------------


def quantised(run: Run) -> Iterator[Finding]:
    kl, top = chosen_file(run, "kl"), chosen_file(run, "top1")
    if kl is None or not run.chosen:
        return
    name = line(run.chosen, 20)
    grade = graded(kl, DIVERGENCE, more=False)
    same = f", and the likeliest token is the same in {share(top)} of places" if top is not None else ""
    text = f"The file that people get ({name}) diverges from F16 by {plain(kl)} nats per token{same}."
    better = f"let people get {finer}" if (finer := _finer(run)) else "add q8_0 to export.quant"
    yield (
        Finding(grade, text) if grade == "good" else Finding(grade, text, better, brief="quantisation that loses much")
    )
    full = next((scores for quant in ("f16", "bf16", "f32") if (scores := run.scored(quant))), {})
    ours, theirs = run.scored(run.chosen), mapping(full.get("compile_rate"))
    low, high = number(theirs.get("low")), number(dig(ours, "compile_rate", "high"))
    if low is not None and high is not None and high < low:
        rates = [share(number(each.get("value"))) for each in (mapping(ours.get("compile_rate")), theirs)]
        text = f"Fewer of its answers compile than of F16's: {rates[0]} against {rates[1]}."
        yield Finding("doubtful", text, better, brief="quantisation that loses much")
    if run.metrics("export", "proof", "text", "apart_from_calibration") == "nothing":
        text = "Too little text was held back to calibrate the files on other text than they were measured on."
        yield Finding(
            "doubtful", text, "hold back more text", run.again("clean.val_fraction=0.1"), "little held-back text"
        )


def _finer(run: Run) -> str:
    """The smallest file that diverges little enough."""
    fine = [
        name for name, entry in run.files.items() if (kl := number(entry.get("kl"))) is not None and kl <= DIVERGENCE[0]
    ]
    return line(fine[-1], 20) if fine else ""


def proven(run: Run) -> Iterator[Finding]:
    proof: Object = mapping(run.metrics("export", "proof"))
    top = number(proof.get("top1_agreement_f16"))
    if top is not None:
        text = f"llama.cpp and the trained weights agree on the likeliest token in {share(top)} of places."
        yield Finding(
            "good" if top >= 0.99 else "bad",
            text,
            "" if top >= 0.99 else "report this as an error of the program",
            brief="" if top >= 0.99 else "a release that differs from the weights",
        )
    answers, ended = number(dig(proof, "chat", "answers")), number(dig(proof, "chat", "ended"))
    if answers and ended is not None and ended < answers:
        times = plural(ended, "time")
        text = f"Where {count(answers)} held-back answers end, the end is the likeliest token only {times}."
        yield Finding("doubtful", text, *longer(run, "finetune"), ENDLESS)


CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    solves, compiles, ends, knows_the_api, copies, learns, enough_text, corpus, tokenizer, quantised, proven,
)  # fmt: skip
