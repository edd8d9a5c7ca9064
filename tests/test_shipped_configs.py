"""nanoGPT and microgpt as configs: their published settings, and a run of each on a few texts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import history
from pipeline.config import Config, load_config
from pipeline.runner import Options, Runner
from pipeline.store import Store
from stages import ROAD
from stages.evaluation.models.checkpoint import Checkpoint
from stages.evaluation.models.interface import Text
from stages.evaluation.models.newest import newest_weights
from stages.evaluation.sample import sample
from stages.tokens.sampling import Sampling
from stages.training.shape import ModelConfig

CONFIGS = Path(__file__).parents[1] / "configs"

# nanoGPT's names: train.py with config/train_gpt2.py, its README for a CPU, and config/train_shakespeare_char.py
GPT2 = {
    "batch_size": 12, "block_size": 1024, "gradient_accumulation_steps": 5 * 8, "max_iters": 600_000,
    "weight_decay": 1e-1, "n_layer": 12, "n_head": 12, "n_embd": 768, "dropout": 0.0, "bias": False,
    "learning_rate": 6e-4, "beta1": 0.9, "beta2": 0.95, "grad_clip": 1.0, "warmup_iters": 2000, "min_lr": 6e-5,
}  # fmt: skip
BABY = GPT2 | {
    "gradient_accumulation_steps": 1, "batch_size": 64, "block_size": 256, "n_layer": 6, "n_head": 6, "n_embd": 384,
    "dropout": 0.2, "learning_rate": 1e-3, "max_iters": 5000, "min_lr": 1e-4, "beta2": 0.99, "warmup_iters": 100,
}  # fmt: skip
CPU = BABY | {
    "block_size": 64, "batch_size": 12, "n_layer": 4, "n_head": 4, "n_embd": 128, "max_iters": 2000, "dropout": 0.0,
}  # fmt: skip


def ours(config: Config, name: str) -> Any:
    """The value of a key that nanoGPT calls so."""
    if name == "block_size":
        return config.sections["tokenize"].model_dump()["context_length"]
    for section in ("model", "pretrain"):
        values = config.sections[section]
        key = type(values).foreign_names.get(name, name)
        if key in type(values).model_fields:
            return getattr(values, key)
    raise KeyError(name)


@pytest.mark.parametrize(("profile", "theirs"), [("gpt2-124m", GPT2), ("baby", BABY), ("cpu", CPU)])
def test_the_settings_are_those_of_nanogpt(profile: str, theirs: dict[str, Any]) -> None:
    config = load_config(CONFIGS / "nanogpt.yaml", ROAD, profile=profile)
    assert {name: ours(config, name) for name in theirs} == theirs
    pretrain, shape = config.sections["pretrain"].model_dump(), config.sections["model"]
    assert (pretrain["optimizer"], pretrain["schedule"], pretrain["packing"]) == ("adamw", "cosine", "stream")
    assert isinstance(shape, ModelConfig) and shape.d_ff == 4 * shape.d_model and shape.n_kv_heads == shape.n_heads
    assert (shape.architecture, shape.tie_embeddings, shape.init_std) == ("gpt2", True, 0.02)
    assert config.sections["tokenizer"].model_dump()["kind"] == "byte_level"


def test_a_card_of_12_gb_takes_the_same_steps_in_as_many_tokens() -> None:
    config = load_config(CONFIGS / "nanogpt.yaml", ROAD, profile="gpu-12gb")
    pretrain = config.sections["pretrain"].model_dump()
    assert pretrain["tokens_per_step"] == 12 * 40 * 1024
    assert {name: ours(config, name) for name in ("n_layer", "n_embd", "learning_rate", "beta2")} == {
        name: GPT2[name] for name in ("n_layer", "n_embd", "learning_rate", "beta2")
    }


@pytest.mark.parametrize(
    ("profile", "theirs"),
    [
        ("current", {"max_steps": 1000, "beta1": 0.85, "beta2": 0.99, "schedule": "wsd", "decay_fraction": 1.0}),
        ("earlier", {"max_steps": 500, "beta1": 0.9, "beta2": 0.95, "schedule": "cosine"}),
    ],
)
def test_both_published_versions_of_microgpt_are_there(profile: str, theirs: dict[str, Any]) -> None:
    config = load_config(CONFIGS / "microgpt.yaml", ROAD, profile=profile)
    pretrain, shape = config.sections["pretrain"].model_dump(), config.sections["model"]
    plain = {"batch_size": 1, "weight_decay": 0, "grad_clip": 0, "learning_rate": 0.01, "min_lr": 0, "warmup_steps": 0}
    assert {name: pretrain[name] for name in plain | theirs} == plain | theirs
    assert isinstance(shape, ModelConfig)
    earlier = profile == "earlier"
    assert (shape.activation, shape.zero_init) == ("relu2" if earlier else "relu", earlier)
    assert shape.init_std == (0.02 if earlier else 0.08)
    length = config.sections["tokenize"].model_dump()["context_length"]
    assert length == (8 if earlier else 16)
    # embedding, positions, four matrices of attention, two of the feed-forward, output; no biases and no norms
    weights = 27 * 16 + length * 16 + 4 * 16 * 16 + 2 * 16 * 64 + 27 * 16
    assert shape.parameters(27, length) == weights == (4192 if not earlier else 4064)
    assert config.until == "pretrain" and load_config(CONFIGS / "microgpt.yaml", ROAD).profile == "current"


NAMES = sorted({a + b + c for a in ("ma", "jo", "ta", "li") for b in ("r", "n", "l") for c in ("a", "e", "ko", "ian")})


def run(folder: Path, name: str, *overrides: str, profile: str) -> Store:
    config = load_config(CONFIGS / name, ROAD, profile=profile, overrides=overrides)
    store = Store(folder / "artifacts")
    Runner(ROAD, config, store, folder / "exports", Options(last=config.until)).run()
    return store


def sampled(store: Store, prompt: str, *, samples: int, sampling: Sampling) -> str:
    """What `pipeline sample` writes with the newest weights."""
    out = io.StringIO()
    with Checkpoint(Path(newest_weights(store))) as model:
        sample(model, Text(prompt), samples=samples, sampling=sampling, max_tokens=16, seed=1337, stdout=out)
    return out.getvalue()


def write_names(folder: Path) -> Path:
    folder.mkdir()
    (folder / "names.txt").write_text("\r\n".join([*NAMES[:5], "", "  ", *NAMES[5:]]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("profile", ["current", "earlier"])
def test_microgpt_learns_names_and_writes_some(tmp_path: Path, profile: str) -> None:
    folder = write_names(tmp_path / "names")
    few = ("pretrain.max_steps=4", "pretrain.eval_every=2", "clean.val_fraction=0.2", "workers=1")
    sources = f"gather.sources=[{{folder: '{folder}', license: CC0-1.0, lines: true}}]"
    store = run(tmp_path, "microgpt.yaml", sources, *few, profile=profile)
    made = {name: artifact.path for name, artifact in history.newest_trained(store).items()}
    letters = sorted(set("".join(NAMES)))
    told = []
    for side in ("train", "val"):
        ids = np.fromfile(made["tokenize"] / f"{side}.bin", dtype="<u2").tolist()
        assert ids[-1] == len(letters)
        told += "".join("|" if token == len(letters) else letters[token] for token in ids).split("|")[:-1]
    assert sorted(told) == NAMES
    with Checkpoint(made["pretrain"]) as model:
        assert model.encoding.vocab_size == len(letters) + 1
    text = sampled(store, "", samples=20, sampling=Sampling(temperature=0.5))
    assert text.count("\n") == 20 and set(text) <= {*letters, "\n"}


def test_nanogpt_learns_texts_and_writes_on(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(12):
        lines = [f"The {NAMES[number + line]} has {line + 2} of {NAMES[-line - 1 - number]}." for line in range(20)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    tiny = ("model.d_model=32", "model.d_ff=64", "model.n_layers=1", "tokenizer.vocab_size=400")
    few = ("pretrain.max_steps=3", "pretrain.batch_size=2", "pretrain.compile=false", "workers=1")
    sources = f"gather.sources=[{{folder: '{folder}', license: CC0-1.0}}]"
    store = run(tmp_path, "nanogpt.yaml", sources, *tiny, *few, profile="cpu")
    with Checkpoint(history.newest_trained(store)["pretrain"].path) as model:
        assert model.encoding.vocab_size <= 400 and model.network.config.architecture == "gpt2"
    text = sampled(store, "The ma", samples=2, sampling=Sampling(temperature=0.8, top_k=20))
    assert text.count("The ma") >= 2
