"""Prove a release in the real runtime before anyone runs it: token ids, logits, what quantising costs, a chat's end."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.hardware import usable_cores
from stages.corpus.documents import read_documents
from stages.release.divergence import Distribution, Tally, significant
from stages.release.errors import ReleaseError
from stages.release.header import Header, read_header
from stages.release.nasty import nasty_strings
from stages.release.rounding import bits_per_weight, check_rounding, coarsest
from stages.release.runtime import Runtime, Step, steps
from stages.release.windows import tokens_in, validation_windows
from stages.release.wording import check_chat, check_stops, check_tokens, read_tokenizer
from stages.tokens.chat import CHAT_END, Message, answered, with_system
from stages.tokens.encoding import Encoding, load_encoding
from stages.tokens.sampling import Sampling

Advance = Callable[[float], Any]
Windows = Sequence[Sequence[int]]
Logits = Callable[[Sequence[int], int, int], NDArray[np.float32]]  # of window[start:stop]
SAMPLE = 1024  # tokens of text in which F16 is compared with the trained weights, and half as many of conversations
ROUNDING = 0.02  # of the spread of the logits in one place: far above what float16 does, far below another matrix
AHEAD = 2  # steps that the F16 file may be ahead of the others: bounds the memory
SURE = 0.6  # probability of a token that rounding does not make another's
NOISE = 0.05  # share of the logits' variance that rounding to 8.5 bits never changes; 4 times for each bit less


def prove(
    files: Mapping[str, Path],
    base: Path,
    inputs: Mapping[str, Path],
    *,
    tokens: int,
    calibration: int = 0,
    advance: Advance = lambda share: None,
) -> dict[str, Any]:
    """Prove `files` ({quantisation: GGUF}) and `base`, the F16 GGUF that they were made from.

    `inputs` are the artifacts of finetune, tokenizer, tokenize, convert and clean. About `tokens` of validation text
    are scored, none of them from what `validation_windows` gives for such a `calibration` if there is enough text.
    `advance` gets shares of the work that add up to 1.

    Returns, for the manifest: how many token ids of texts (`tokens_compared`) and of nasty strings were compared;
    `text`, what was scored; `trained`, the trained weights beside F16 in a sample of it, and from there
    `top1_agreement_f16` and `max_logit_difference_f16`; `chat`; and in `files` for each its bits per weight, `kl` and
    `kl_99` (mean and 99th percentile of KL(F16 ‖ file), in nats), `top1` (how often it has F16's likeliest token),
    `loss`, `perplexity`, `bits_per_byte` and `tokens`.

    Raises ReleaseError, which says what is wrong: where token ids, the start of a text, a chat prompt or the end of an
    answer are not what training had, logits are not finite, F16 does not compute what the trained weights do, or a file
    is further from F16 than its bits explain.
    """
    encoding = load_encoding(inputs["tokenizer"])
    documents = list(read_documents(inputs["clean"] / "val"))
    texts = [document.text for document in documents]
    talks = [document.messages for document in documents if document.kind == "pair"]
    system = str(json.loads((inputs["tokenize"] / "meta.json").read_bytes())["system"])
    others = {name: path for name, path in files.items() if path != base}
    headers, exact = {name: read_header(path) for name, path in files.items()}, read_header(base)
    threads = max(1, usable_cores() // (1 + len(others)))
    with ExitStack() as stack:
        runtime = stack.enter_context(Runtime(base, threads=threads))
        for name in others:
            _check_vocabulary(others[name], headers[name], exact)
            check_rounding(others[name], headers[name], base, exact)
        if runtime.vocab_size != encoding.vocab_size:
            raise ReleaseError(
                f"export: other token ids: {base.name} has {runtime.vocab_size}, training had {encoding.vocab_size}"
            )
        stops = check_stops(runtime, encoding)
        length = runtime.context_length
        found = validation_windows(inputs["clean"] / "val", encoding, length, tokens=tokens, calibration=calibration)
        readers = {name: (path, stack.enter_context(Runtime(path, threads=threads))) for name, path in others.items()}
        vocabulary = stack.enter_context(Runtime(base, threads=1))  # one for each thread
        worker = stack.enter_context(ThreadPoolExecutor(1))
        text = worker.submit(_check_text, vocabulary, encoding, inputs["convert"], texts, talks, system)
        trained = stack.enter_context(_trained(inputs["finetune"], threads))

        def measured(share: float) -> None:
            if text.done():
                text.result()  # other token ids are told as soon as they are found
            advance(0.9 * share)

        sizes = np.array(encoding.sizes())
        beside = Beside(base, trained, sizes)
        tallies = _measure(
            (base, runtime),
            readers,
            found.proof,
            beside,
            measured,
        )
        said = _talk(runtime, encoding, [with_system(talk, system) for talk in talks], beside)
        (compared, nasty, chat) = text.result()
    size = sum(int(sizes[window[1:]].sum()) for window in found.proof)
    scores = {
        name: {
            "file": path.name,
            "bits_per_weight": round(bits_per_weight(headers[name]), 3),
            **tallies[name if name in others else ""].told(size),
        }
        for name, path in files.items()
    }
    for name, path in others.items():
        _check_noise(path, headers[name], tallies[name])
    advance(0.1)
    return {
        "texts": len(texts),
        "tokens_compared": compared,
        "nasty_strings": len(nasty_strings()),
        "nasty_tokens_compared": nasty,
        "text": {"tokens": tokens_in(found.proof), "bytes": size, "apart_from_calibration": found.apart},
        **beside.told(),
        "chat": {"stops": stops, **chat, **said},
        "files": scores,
    }


def _check_text(
    runtime: Runtime,
    encoding: Encoding,
    huggingface: Path,
    texts: Sequence[str],
    talks: Sequence[Sequence[Message]],
    system: str,
) -> tuple[int, int, dict[str, int]]:
    tokenizer = read_tokenizer(huggingface)
    compared, nasty = (check_tokens(runtime, encoding, tokenizer, each) for each in (texts, nasty_strings()))
    return compared, nasty, check_chat(runtime, encoding, tokenizer, talks, system)


def _check_vocabulary(path: Path, header: Header, base: Header) -> None:
    """All that llama.cpp knows of tokens lies in these keys, so what holds for one file then holds for the other."""
    ours, theirs = ({k: v for k, v in each.keys.items() if k.startswith("tokenizer.")} for each in (header, base))
    if different := sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)):
        raise ReleaseError(f"export: {path.name} has another vocabulary than the F16 file: {', '.join(different)}")


def _measure(
    base: tuple[Path, Runtime],
    others: Mapping[str, tuple[Path, Runtime]],
    windows: Windows,
    beside: Beside,
    advance: Advance,
) -> dict[str, Tally]:
    """Each file's figures, F16's under "", all files reading the same windows side by side, each in a thread."""
    path, runtime = base
    inputs = [window[:-1] for window in windows]
    plan = steps([len(ids) for ids in inputs], runtime.step_size)
    every = -(-len(plan) // -(-SAMPLE // runtime.step_size))
    total, pending = tokens_in(windows), deque[tuple[int, list[Future[None]]]]()
    tallies = {"": Tally(), **{name: Tally() for name in others}}
    readers = {name: other.read(inputs) for name, (_, other) in others.items()}

    def follow(name: str, step: Step, reference: Distribution, targets: NDArray[np.int64]) -> None:
        read, rows = next(readers[name])
        assert read == step
        with _finite(others[name][0]):
            tallies[name].add(reference, rows, targets)

    def finish() -> None:
        size, futures = pending.popleft()
        for future in futures:
            future.result()
        advance(size / total)

    with ExitStack() as stack:
        workers = {name: stack.enter_context(ThreadPoolExecutor(1)) for name in (*others, "")}
        for number, (step, rows) in enumerate(runtime.read(inputs)):
            targets = _targets(windows, step)
            with _finite(path):
                reference = Distribution(rows)
            tallies[""].add_reference(reference, targets)
            futures = [workers[name].submit(follow, name, step, reference, targets) for name in others]
            if number % every == 0:
                futures.append(workers[""].submit(beside.add, step, inputs, reference, targets))
            pending.append((len(targets), futures))
            if len(pending) > AHEAD:
                finish()
        while pending:
            finish()
    return tallies


class Beside:
    """The F16 file in llama.cpp beside the trained weights, in some places."""

    def __init__(self, path: Path, trained: Logits, sizes: NDArray[np.int64]) -> None:
        """`sizes` has how many bytes of text each id stands for."""
        self._path, self._trained, self._sizes = path, trained, sizes
        self._ours, self._theirs = Tally(), Tally()
        self._same, self._clear, self._count = 0, 0, 0
        self._difference, self._bytes = 0.0, 0

    def add(
        self, step: Step, windows: Windows, found: Distribution, targets: NDArray[np.int64], *, text: bool = True
    ) -> None:
        """Count the places of a step, in which `found` is what the file computed; losses are those of `text` only."""
        rows = np.concatenate([self._trained(windows[part.window], part.start, part.stop) for part in step])
        ours = Distribution(rows)
        theirs = found.logits + found.top
        behind = -ours.logits[np.arange(len(rows)), found.best]
        self._clear += int((behind > ROUNDING * rows.std(axis=1)).sum())
        self._same += int((found.best == ours.best).sum())
        self._difference = max(self._difference, float(np.abs(theirs - rows).max()))
        self._count += len(rows)
        if text:
            self._ours.add_reference(ours, targets)
            self._theirs.add(ours, theirs, targets)
            self._bytes += int(self._sizes[targets].sum())

    def told(self) -> dict[str, Any]:
        """The figures. Raises ReleaseError where the likeliest token clearly differs in more than one place of 100.

        Then tensors are in the wrong place, and the model would talk fluent nonsense. Two tokens that are as likely but
        for ROUNDING may change places.
        """
        agreement = self._same / self._count
        if self._clear > 0.01 * self._count:
            raise ReleaseError(
                f"export: {self._path.name} in llama.cpp agrees with the trained model on "
                f"{agreement:.1%} of tokens only"
            )
        ours, theirs = self._ours.told(self._bytes), self._theirs.told(self._bytes)
        figures = {name: ours[name] for name in ("loss", "perplexity", "bits_per_byte", "tokens")}
        return {
            "trained": figures | {"loss_f16": theirs["loss"], "kl_f16": theirs["kl"]},
            "top1_agreement_f16": round(agreement, 5),
            "max_logit_difference_f16": round(self._difference, 5),
        }


def _talk(runtime: Runtime, encoding: Encoding, talks: Sequence[Sequence[Message]], beside: Beside) -> dict[str, Any]:
    """How often the F16 file would end its answer where the answers of conversations end.

    A model that was hardly trained never does. Where it is surest of an end, surer than SURE, llama.cpp is asked to go
    on (`stop_tested`) and has to stop: ReleaseError.
    """
    if not encoding.chats:
        return {}
    end, taken = encoding.token_id(CHAT_END), 0
    windows: list[list[int]] = []  # up to the end of an answer
    for messages in (each for talk in talks for each in answered(talk)):
        ids, mask = encoding.encode_chat(messages)
        ids = ids[: 1 + max(place for place, learned in enumerate(mask) if learned)]
        if taken < SAMPLE // 2 and len(ids) <= runtime.context_length:
            windows.append(ids)
            taken += len(ids)
    ended = 0
    chances: list[float] = []
    surest: tuple[float, Sequence[int]] = (0.0, [])
    inputs = [window[:-1] for window in windows]
    for step, rows in runtime.read(inputs):
        targets, found = _targets(windows, step), Distribution(rows)
        beside.add(step, inputs, found, targets, text=False)
        row = -1
        for part in step:
            row += part.stop - part.start
            if part.stop == len(inputs[part.window]):
                chances.append(float(found.chances[row, end]))
                ended += int(found.best[row]) == end
                surest = max(surest, (chances[-1], inputs[part.window]))
    tested = surest[0] > SURE
    if tested and list(runtime.generate(surest[1], max_tokens=1, sampling=Sampling(temperature=0), seed=0)):
        raise ReleaseError("export: llama.cpp goes on after the end of an answer")
    mean = significant(float(np.mean(chances))) if chances else None
    return {"answers": len(chances), "ended": ended, "end_probability": mean, "stop_tested": tested}


def _targets(windows: Windows, step: Step) -> NDArray[np.int64]:
    """The tokens that follow those of a step."""
    return np.array([token for part in step for token in windows[part.window][part.start + 1 : part.stop + 1]])


@contextmanager
def _trained(folder: Path, threads: int) -> Iterator[Logits]:
    """The trained weights in float32 as a function from a window and a stretch of it to logits."""
    import torch

    from stages.training.model import load_model

    model = load_model(folder, mapped=True)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    last: list[Any] = [None, None]  # a long window is read in several steps

    def logits(window: Sequence[int], start: int, stop: int) -> NDArray[np.float32]:
        with torch.inference_mode():
            if last[0] is not window:
                last[:] = window, model.hidden(torch.tensor([list(window)]))[0]
            found: NDArray[np.float32] = model.output(last[1][start:stop]).numpy()
        return found

    try:
        yield logits
    finally:
        torch.set_num_threads(before)


@contextmanager
def _finite(path: Path) -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        raise ReleaseError(f"export: {path.name} gives {error} in llama.cpp") from None


def _check_noise(path: Path, header: Header, tally: Tally) -> None:
    """Raise ReleaseError where the logits are further from F16's than rounding to the coarsest type explains.

    By their own spread, as KL depends on how sure a model is. Of fewer than six bits anything may come, in a model of
    random weights; `check_rounding` looks at their weights.
    """
    if tally.noise > NOISE * 4 ** max(0.0, 8.5 - coarsest(header)):
        raise ReleaseError(
            f"export: {path.name} is {tally.mean:.3g} nats from the F16 file and its logits are {tally.noise:.0%} off, "
            f"which {coarsest(header):.2f} bits a weight do not explain"
        )
