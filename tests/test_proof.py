"""The proof of a release: its figures against transformers and hand arithmetic, and what is broken has to fail."""

from __future__ import annotations

import json
import shutil
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_convert import CONTEXT, TinyRelease, corpus, edit_weights, make_release, train, trained_logits
from test_gguf import read_tensors

from stages.corpus.documents import Document, conversation_text, write_documents
from stages.release import proof as proving
from stages.release.architectures import pair_rows
from stages.release.errors import ReleaseError
from stages.release.gguf import GgufMetadata, write_gguf
from stages.release.nasty import nasty_strings
from stages.release.proof import prove
from stages.release.quantize import quantize
from stages.release.windows import validation_windows
from stages.tokens.chat import answered
from stages.training.model import load_model, save_model

TOKENS = 300


def make(root: Path, *, kind: str = "sentencepiece", steps: int = 60, **shape: Any) -> TinyRelease:
    made = make_release(root, kind=kind, steps=steps, **shape)
    made.convert()
    return made


def write_base(release: TinyRelease, name: str = "f16.gguf") -> Path:
    path = release.root / name
    write_gguf(release.root / "convert", path, file_type="f16", metadata=GgufMetadata("tiny"))
    return path


def quantised(base: Path, *quants: str) -> dict[str, Path]:
    paths = {quant: base.with_name(f"{quant}.gguf") for quant in quants}
    for quant, path in paths.items():
        quantize(base, path, quant)
    return paths


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    return make(tmp_path_factory.mktemp("tiny") / "artifacts")


@pytest.fixture(scope="module")
def base(tiny: TinyRelease) -> Path:
    return write_base(tiny)


@pytest.fixture(scope="module")
def files(base: Path) -> dict[str, Path]:
    return {"f16": base, **quantised(base, "q8_0", "q4_k_m")}


@pytest.fixture(scope="module")
def proof(tiny: TinyRelease, base: Path, files: dict[str, Path]) -> dict[str, Any]:
    return prove(files, base, tiny.inputs, tokens=TOKENS)


def changed(path: Path, folder: Path, *swaps: tuple[bytes, bytes]) -> Path:
    """A copy of a file with some bytes replaced, all at their first place, which has to be there."""
    data = path.read_bytes()
    for old, new in swaps:
        assert data.count(old) and len(old) == len(new)
        data = data.replace(old, new, 1)
    folder.mkdir(exist_ok=True)
    (folder / path.name).write_bytes(data)
    return folder / path.name


def number(key: str, value: int) -> bytes:
    """A key of a GGUF with an unsigned 32-bit value."""
    return key.encode() + struct.pack("<II", 4, value)


class Dequantised:
    """The tiny Llama with the weights of a GGUF, widened by gguf's own functions, computed by transformers."""

    def __init__(self, release: TinyRelease, path: Path) -> None:
        import gguf
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(release.root / "convert", dtype=torch.float32).eval()
        kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(path).tensors}
        found = {name: gguf.dequantize(np.array(data), kinds[name]) for name, data in read_tensors(path).items()}
        table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        state = self.model.state_dict()
        for name in state:
            ours = table.get_name(name, try_suffixes=(".weight",))
            if ours not in found:
                continue  # the tied output
            rows = found[ours]
            for kind, heads in (("attn_q.", 4), ("attn_k.", 2)):
                if kind in ours:  # back from pairs of rows to halves
                    rows = rows[np.argsort(pair_rows(np.arange(len(rows))[:, None], heads)[:, 0])]
            state[name] = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
        self.model.load_state_dict(state, strict=False)

    def log_chances(self, windows: Any) -> torch.Tensor:
        with torch.no_grad():
            rows = [self.model(torch.tensor([window[:-1]])).logits[0] for window in windows]
        return torch.cat(rows).double().log_softmax(-1)


def test_the_figures_are_those_of_transformers_with_the_same_weights(
    tiny: TinyRelease, files: dict[str, Path], proof: dict[str, Any]
) -> None:
    found = validation_windows(tiny.root / "clean/val", tiny.encoding, CONTEXT, tokens=TOKENS)
    targets = torch.tensor([token for window in found.proof for token in window[1:]])
    size = sum(len(each.text.encode()) for each in corpus(12)[10:12])
    p = Dequantised(tiny, files["f16"]).log_chances(found.proof)
    assert proof["text"] == {"tokens": len(targets), "bytes": size, "apart_from_calibration": "documents"}
    for quant, near in (("f16", 0.002), ("q8_0", 0.01), ("q4_k_m", 0.02)):
        q, told = Dequantised(tiny, files[quant]).log_chances(found.proof), proof["files"][quant]
        loss = float(-q.gather(1, targets[:, None]).mean())
        assert told["loss"] == pytest.approx(loss, abs=near)
        assert told["perplexity"] == pytest.approx(np.exp(told["loss"]), rel=1e-4)
        assert told["bits_per_byte"] == pytest.approx(told["loss"] * len(targets) / np.log(2) / size, abs=1e-4)
        assert told["tokens"] == len(targets) and told["file"] == files[quant].name
        kl = (p.exp() * (p - q)).sum(-1)
        assert told["top1"] == pytest.approx(float((p.argmax(-1) == q.argmax(-1)).double().mean()), abs=0.03)
        if quant == "f16":
            assert told["kl"] == told["kl_99"] == 0 and told["top1"] == 1
        else:  # llama.cpp rounds what goes into a matrix as well
            assert 0.7 < told["kl"] / float(kl.mean()) < 2.5
            assert 0.5 < told["kl_99"] / float(kl.quantile(0.99)) < 4
    assert 0 < proof["files"]["q8_0"]["kl"] < proof["files"]["q4_k_m"]["kl"]


def test_divergence_is_that_of_llama_cpp_s_own_logits(
    tiny: TinyRelease, files: dict[str, Path], proof: dict[str, Any]
) -> None:
    from stages.release.runtime import Runtime

    windows = validation_windows(tiny.root / "clean/val", tiny.encoding, CONTEXT, tokens=TOKENS).proof
    chances = {}
    for quant, path in files.items():
        with Runtime(path, threads=1) as runtime:
            rows = np.concatenate([runtime.logits(window[:-1]) for window in windows])
        chances[quant] = torch.from_numpy(rows).double().log_softmax(-1)
    p, q = chances["f16"], chances["q4_k_m"]
    kl = (p.exp() * (p - q)).sum(-1)
    assert proof["files"]["q4_k_m"]["kl"] == pytest.approx(float(kl.mean()), rel=0.1)
    assert proof["files"]["q4_k_m"]["kl_99"] == pytest.approx(float(kl.quantile(0.99)), rel=0.2)


def test_what_else_is_told(tiny: TinyRelease, proof: dict[str, Any], files: dict[str, Path]) -> None:
    documents = [*corpus(12)[10:12], corpus(12)[13]]
    assert proof["texts"] == 3
    assert proof["tokens_compared"] == sum(len(tiny.encoding.encode(each.text)) for each in documents)
    assert proof["nasty_strings"] == len(nasty_strings()) > 500
    assert proof["nasty_tokens_compared"] == sum(len(tiny.encoding.encode(text)) for text in nasty_strings())
    trained, f16 = proof["trained"], proof["files"]["f16"]
    assert trained["tokens"] == f16["tokens"]  # all of so little text
    assert trained["loss"] == pytest.approx(f16["loss"], abs=1e-3) and trained["loss_f16"] == f16["loss"]
    assert trained["bits_per_byte"] == pytest.approx(f16["bits_per_byte"], abs=1e-3)
    assert 0 <= trained["kl_f16"] < 1e-4 and proof["top1_agreement_f16"] > 0.98
    assert 0 < proof["max_logit_difference_f16"] < 0.1
    chat = proof["chat"]
    assert chat["stops"] == ["<eos>", "<|im_end|>"] and chat["conversations"] > 8
    assert chat["answers"] == 0 and chat["end_probability"] is None  # the one conversation is too long
    parameters = sum(tensor.size for tensor in read_tensors(files["f16"]).values())
    stored = sum(tensor.nbytes for tensor in read_tensors(files["q4_k_m"]).values())
    assert proof["files"]["q4_k_m"]["bits_per_weight"] == pytest.approx(8 * stored / parameters, abs=1e-3)
    assert json.loads(json.dumps(proof)) == proof


def test_the_same_again_without_f16_among_the_files(
    tiny: TinyRelease, base: Path, files: dict[str, Path], proof: dict[str, Any]
) -> None:
    shares: list[float] = []
    threads = torch.get_num_threads()
    one = {"q4_k_m": files["q4_k_m"]}
    again = prove(one, base, tiny.inputs, tokens=TOKENS, advance=shares.append)
    assert again == proof | {"files": {"q4_k_m": proof["files"]["q4_k_m"]}}
    assert sum(shares) == pytest.approx(1) and min(shares) > 0 and torch.get_num_threads() == threads


def test_no_runtime_is_used_by_two_threads(
    tiny: TinyRelease, files: dict[str, Path], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: dict[int, set[int]] = {}
    for name in ("tokenize", "read", "generate", "is_end_of_generation"):
        asked = getattr(proving.Runtime, name)

        def spied(self: Any, *given: Any, asked: Any = asked, **options: Any) -> Any:
            users.setdefault(id(self), set()).add(threading.get_ident())
            return asked(self, *given, **options)

        monkeypatch.setattr(proving.Runtime, name, spied)
    prove(files, base, tiny.inputs, tokens=TOKENS)
    assert len(users) == 1 + len(files) and all(len(threads) == 1 for threads in users.values())


def test_other_token_ids_are_told_before_everything_is_measured(
    tiny: TinyRelease, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(*given: Any) -> None:
        raise ReleaseError("other token ids")

    monkeypatch.setattr(proving, "_check_text", differ)
    shares: list[float] = []
    with pytest.raises(ReleaseError, match="other token ids"):
        prove({}, base, tiny.inputs, tokens=TOKENS, advance=shares.append)
    assert not shares


def talk(*turns: str) -> Document:
    """A conversation of the user and the assistant in turn."""
    roles = ("user", "assistant") * len(turns)
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, turns, strict=False))
    return Document(turns[0], conversation_text(messages), "pair", "a", turns[0], "MIT", {}, messages)


def test_where_answers_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was taught two conversations by heart ends their answers; one of random weights does not."""
    talks = [talk("C", "def"), talk("A", "led", "B", "time")]
    for steps, ended in ((0, 0), (100, 3)):
        made = make(tmp_path / str(steps), steps=0)
        (made.root / "tokenize/meta.json").write_text('{"system": ""}')
        model, encoding = load_model(made.root / "finetune"), made.encoding
        texts = [encoding.encode_chat(each)[0] for whole in talks for each in answered(whole.messages)]
        for text in texts * steps:
            train(model, [text], 1)
        save_model(made.root / "finetune", model)
        made.convert()
        write_documents(made.root / "clean/val", [*corpus(2)[:2], *talks])
        told = prove({}, write_base(made), made.inputs, tokens=TOKENS)["chat"]
        assert (told["answers"], told["ended"]) == (3, ended), told
        chances = [
            float(torch.from_numpy(trained_logits(made.root / "finetune", ids))[place - 1].softmax(-1)[5])
            for ids in texts
            for place in [ends_of_turns(ids)[-1]]
        ]
        assert told["end_probability"] == pytest.approx(np.mean(chances), rel=0.02)
        assert told["stop_tested"] == (steps > 0)
    monkeypatch.setattr(proving.Runtime, "generate", lambda *given, **options: iter([7]))
    with pytest.raises(ReleaseError, match=r"llama\.cpp goes on after the end of an answer"):
        prove({}, made.root / "f16.gguf", made.inputs, tokens=TOKENS)


def ends_of_turns(ids: list[int]) -> list[int]:
    return [place for place, token in enumerate(ids) if token == 5]


def test_text_for_calibration_is_not_proven_with(tiny: TinyRelease, base: Path, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    write_documents(copy.root / "clean/val", corpus(30))
    told = prove({"f16": base}, base, copy.inputs, tokens=400, calibration=300)
    found = validation_windows(copy.root / "clean/val", tiny.encoding, CONTEXT, tokens=400, calibration=300)
    assert told["text"]["tokens"] == sum(len(window) - 1 for window in found.proof) < 400 + CONTEXT
    assert told["text"]["apart_from_calibration"] == "documents" and told["trained"]["tokens"] >= 400


def test_the_trained_weights_are_sampled_where_there_is_much_text(
    tiny: TinyRelease, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tiny.copy(tmp_path / "copy")
    write_documents(copy.root / "clean/val", corpus(60))
    monkeypatch.setattr(proving, "SAMPLE", 512)
    told = prove({"f16": base}, base, copy.inputs, tokens=2500)
    assert 500 < told["trained"]["tokens"] <= 512 and told["files"]["f16"]["tokens"] >= 2500
    assert told["trained"]["loss"] == pytest.approx(told["trained"]["loss_f16"], abs=1e-3)


@pytest.mark.parametrize("steps", [0, 15])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_an_honest_file_of_few_bits_is_released(tmp_path: Path, steps: int, architecture: str) -> None:
    """Wide enough for the blocks of 256 that the coarsest types need, drawn at random or trained to be sure."""
    made = make(tmp_path / "artifacts", steps=steps, architecture=architecture, d_model=256, d_ff=256)
    base = write_base(made)
    told = prove(quantised(base, "q2_k", "q3_k_m", "q4_0"), base, made.inputs, tokens=TOKENS)
    kl = {quant: figures["kl"] for quant, figures in told["files"].items()}
    assert kl["q2_k"] > kl["q3_k_m"] > 0 and kl["q2_k"] > kl["q4_0"] > 0


def swap_heads(release: TinyRelease) -> None:
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.k_proj.weight"
        edit_weights(release.root / "convert", name, [*range(16, 32), *range(16)])


def test_swapped_heads_fail(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    swap_heads(copy)
    with pytest.raises(ReleaseError, match=r"f16\.gguf in llama\.cpp agrees with the trained model on \d+\.\d% of"):
        prove({}, write_base(copy), copy.inputs, tokens=TOKENS)


def test_a_quantised_file_of_other_weights_fails(tiny: TinyRelease, base: Path, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    swap_heads(copy)
    other = quantised(write_base(copy, "other.gguf"), "q8_0")
    with pytest.raises(ReleaseError, match=r"attn_k\.weight of q8_0\.gguf is 1\d\d\.\d% off the F16 .* 8\.50 bits"):
        prove(other, base, tiny.inputs, tokens=TOKENS)


START = r"llama\.cpp does not give 'from machine.* the one start of text that training gave \(1\), but "
BOS = "tokenizer.ggml.bos_token_id"
EOT = b"tokenizer.ggml.eot_token_id"
BROKEN: dict[str, tuple[list[tuple[bytes, bytes]], str]] = {
    "another start": ([(number(BOS, 1), number(BOS, 2))], START + r"\[2\]"),
    "a space in front": (
        [(b"add_space_prefix\x07\x00\x00\x00\x00", b"add_space_prefix\x07\x00\x00\x00\x01")],
        START + r"\[1, \d+\]",
    ),
    "no start": (
        [(b"add_bos_token\x07\x00\x00\x00\x01", b"add_bos_token\x07\x00\x00\x00\x00")],
        START + r"\[\]",
    ),
    "no end of turn": (
        [(EOT, b"tokenizer.ggml.eXX_token_id"), (b"<|im_end|>", b"<|im_eXX|>")],
        r"llama\.cpp goes on after <\|im_eXX\|>, with which the model ends its answers",
    ),
    "another template": (
        [(b"'<|im_start|>assistant", b"'<|im_start|>assistamt")],
        r"the chat template in llama\.cpp gives other token ids",
    ),
}  # fmt: skip


def test_plain_text_that_would_end_an_answer_fails(tiny: TinyRelease, base: Path, tmp_path: Path) -> None:
    swap = number(EOT.decode(), 5), number(EOT.decode(), tiny.encoding.encode("from")[0])
    with pytest.raises(ReleaseError, match=r"llama\.cpp would end its answer at \S+, which is plain text"):
        prove({}, changed(base, tmp_path / "broken", swap), tiny.inputs, tokens=TOKENS)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_vocabulary_fails(tiny: TinyRelease, base: Path, tmp_path: Path, case: str) -> None:
    swaps, message = BROKEN[case]
    with pytest.raises(ReleaseError, match=message):
        prove({}, changed(base, tmp_path / "broken", *swaps), tiny.inputs, tokens=TOKENS)


def test_a_wrong_pre_tokenizer_fails(tmp_path: Path) -> None:
    made = make(tmp_path / "artifacts", kind="byte_level")
    path = changed(write_base(made), tmp_path / "broken", (b"gpt-2", b"qwen2"))
    with pytest.raises(ReleaseError, match=r"llama\.cpp gives other token ids for "):
        prove({}, path, made.inputs, tokens=TOKENS)


def test_a_quantised_file_with_another_vocabulary_fails(
    tiny: TinyRelease, base: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    path = changed(files["q8_0"], tmp_path / "broken", (number(BOS, 1), number(BOS, 2)))
    with pytest.raises(
        ReleaseError, match=r"q8_0\.gguf has another vocabulary than the F16 file: tokenizer\.ggml\.bos"
    ):
        prove({"q8_0": path}, base, tiny.inputs, tokens=TOKENS)


def test_a_tokenizer_of_another_size_fails(tiny: TinyRelease, base: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", kind="byte_level", steps=0)
    with pytest.raises(ReleaseError, match=r"other token ids: f16\.gguf has 420, training had \d+"):
        prove({}, base, tiny.inputs | {"tokenizer": other.root / "tokenizer"}, tokens=TOKENS)


def test_logits_that_are_far_off_fail_even_where_the_weights_are_right(
    tiny: TinyRelease, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tiny.copy(tmp_path / "copy")
    swap_heads(copy)
    other = quantised(write_base(copy, "other.gguf"), "q8_0")
    monkeypatch.setattr(proving, "check_rounding", lambda *files: 0.0)
    with pytest.raises(ReleaseError, match=r"q8_0\.gguf is \S+ nats from the F16 file and its logits are \d+% off"):
        prove(other, base, tiny.inputs, tokens=TOKENS)


def edit_json(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        told = json.loads(path.read_bytes())
        change(told)
        path.write_text(json.dumps(told))

    return edit


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        (
            "tokenizer.json",
            edit_json(lambda told: told.pop("post_processor")),
            "transformers does not give .* start of",
        ),
        ("tokenizer.json", edit_json(lambda told: told["model"]["merges"].reverse()), "transformers gives other token"),
        (
            "chat_template.jinja",
            lambda path: path.write_text(path.read_text().replace("assistant", "helper")),
            "the chat template in transformers gives other token ids",
        ),
    ],
    ids=["start", "merges", "template"],
)
def test_a_broken_huggingface_folder_fails(
    tiny: TinyRelease, base: Path, tmp_path: Path, file: str, edit: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(tiny.root / "convert", tmp_path / "convert")
    edit(tmp_path / "convert" / file)
    with pytest.raises(ReleaseError, match=message):
        prove({}, base, tiny.inputs | {"convert": tmp_path / "convert"}, tokens=TOKENS)


def with_norm(path: Path, folder: Path, value: float) -> Path:
    """A copy of a GGUF, the first number of its last norm replaced."""
    norm = read_tensors(path)["output_norm.weight"].tobytes()
    return changed(path, folder, (norm, struct.pack("<f", value) + norm[4:]))


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "does not load it"), (3e38, "gives logits that are not finite")]
)
def test_numbers_that_are_none_fail(
    tiny: TinyRelease,
    base: Path,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    message: str,
) -> None:
    with pytest.raises(ReleaseError, match=rf"f16\.gguf.* {message}"):
        prove({}, with_norm(base, tmp_path / "broken", value), tiny.inputs, tokens=TOKENS)
    broken = {"q8_0": with_norm(files["q8_0"], tmp_path / "broken", value)}
    with pytest.raises(ReleaseError, match=r"output_norm\.weight of q8_0\.gguf is \S+ off"):
        prove(broken, base, tiny.inputs, tokens=TOKENS)
    monkeypatch.setattr(proving, "check_rounding", lambda *files: 0.0)
    with pytest.raises(ReleaseError, match=rf"q8_0\.gguf.* {message}"):
        prove(broken, base, tiny.inputs, tokens=TOKENS)
