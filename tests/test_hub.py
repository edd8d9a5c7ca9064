"""Starting from the weights of others: folders, shards and the hub as they are found, and how they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import StageError, UsageError
from stages.training.hub import find_pretrained, grow_vocabulary, read_pretrained, read_shape
from stages.training.huggingface import huggingface_config, huggingface_tensors
from stages.training.model import load_model, make_model, save_model, start_model
from stages.training.networks.network import Network
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 61, 24
SIZES: dict[str, Any] = {"d_model": 32, "n_layers": 2, "n_heads": 4, "d_ff": 48}
TOKENS = torch.randint(VOCAB_SIZE, (2, 12), generator=torch.Generator().manual_seed(3))


def network(architecture: str, **more: Any) -> Network:
    torch.manual_seed(9)
    made = make_model(ModelConfig(architecture=architecture, **SIZES, **more), VOCAB_SIZE, CONTEXT)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def saved(folder: Path, architecture: str = "gpt2", **more: Any) -> Network:
    """A network of ours in a folder as HuggingFace's are."""
    made = network(architecture, **more)
    huggingface_config(made.config, VOCAB_SIZE, CONTEXT).save_pretrained(folder)
    save_file(huggingface_tensors(made), folder / "model.safetensors")
    return made


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_folder_gives_weights_and_shape_and_dropout_stays(tmp_path: Path, architecture: str) -> None:
    theirs = saved(tmp_path / "there", architecture)
    config = ModelConfig(init_from="there", dropout=0.25, d_model=64, n_layers=5)
    started = start_model(config, VOCAB_SIZE, CONTEXT, base=tmp_path)
    assert started.config == theirs.config.model_copy(update={"init_from": "there", "dropout": 0.25})
    assert torch.equal(started.eval()(TOKENS), theirs(TOKENS))
    assert read_shape("there", tmp_path) == (theirs.config, VOCAB_SIZE, CONTEXT)
    save_model(tmp_path, started)
    (tmp_path / "there" / "config.json").unlink()  # a saved model needs its origin no more
    assert torch.equal(load_model(tmp_path)(TOKENS), theirs(TOKENS))


def test_without_init_from_a_network_is_fresh() -> None:
    config = ModelConfig(**SIZES)
    torch.manual_seed(1)
    started = start_model(config, VOCAB_SIZE, CONTEXT)
    torch.manual_seed(1)
    assert all(map(torch.equal, started.parameters(), make_model(config, VOCAB_SIZE, CONTEXT).parameters()))


@pytest.mark.parametrize("tied", [True, False])
def test_a_larger_vocabulary_takes_nothing_from_what_is_known(tmp_path: Path, tied: bool) -> None:
    theirs = saved(tmp_path, tie_embeddings=tied)
    started = start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE + 5, CONTEXT).eval()
    known, new = started(TOKENS)[..., :VOCAB_SIZE], started(TOKENS)[..., VOCAB_SIZE:]
    torch.testing.assert_close(known, theirs(TOKENS))
    torch.testing.assert_close(new, known.mean(dim=-1, keepdim=True).expand_as(new), rtol=0, atol=1e-5)
    chances = started(TOKENS).softmax(dim=-1)
    assert chances[..., VOCAB_SIZE:].max().item() <= 1 / VOCAB_SIZE
    assert started.embedding.num_embeddings == VOCAB_SIZE + 5


def test_spare_rows_of_a_vocabulary_are_cut() -> None:
    tensors = {"embedding.weight": torch.arange(12.0).view(6, 2), "norm.weight": torch.ones(2)}
    cut = grow_vocabulary(tensors, 4)
    assert cut["embedding.weight"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    grown = grow_vocabulary(tensors, 7)
    assert grown["embedding.weight"][6].tolist() == [5, 6]
    assert grown["norm.weight"] is tensors["norm.weight"]
    assert len(tensors["embedding.weight"]) == 6


def test_of_learned_positions_those_of_the_context_stay(tmp_path: Path) -> None:
    theirs = saved(tmp_path)
    started = start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE, 12)
    assert started.context_length == 12
    torch.testing.assert_close(started.eval()(TOKENS), theirs(TOKENS))
    with pytest.raises(UsageError, match=f"25 is more than the {CONTEXT} positions that .* has learned"):
        start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE, CONTEXT + 1)


def test_a_turned_context_may_grow(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "llama")
    started = start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE, 4 * CONTEXT)
    torch.testing.assert_close(started.eval()(TOKENS), theirs(TOKENS))


def shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    names = sorted(tensors)
    parts = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def test_shards_are_read(tmp_path: Path) -> None:
    theirs = saved(tmp_path)
    shards(tmp_path, load_file(tmp_path / "model.safetensors"))
    assert torch.equal(
        start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE, CONTEXT).eval()(TOKENS), theirs(TOKENS)
    )


def test_shards_that_transformers_wrote_are_read(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = saved(tmp_path / "whole", "llama")
    AutoModelForCausalLM.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "cut", max_shard_size="20KB")
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) > 1
    read = read_pretrained("cut", tmp_path)
    assert (read.config, read.vocab_size, read.context_length) == (theirs.config, VOCAB_SIZE, CONTEXT)
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in read.tensors.items())


def lose_a_shard(folder: Path) -> None:
    shards(folder, load_file(folder / "model.safetensors"))
    (folder / "model-00002-of-00003.safetensors").unlink()


def name_a_shard_elsewhere(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "model.safetensors").rename(folder / "elsewhere/model.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"wte": "elsewhere/model.safetensors"}}')


def spoil_the_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": [1]}')


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def rewritten(**changes: torch.Tensor | None) -> Any:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        for name, tensor in changes.items():
            tensors.pop(name.replace("_", "."), None)
            if tensor is not None:
                tensors[name.replace("_", ".")] = tensor
        save_file(tensors, folder / "model.safetensors")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose_a_shard, "model-00002-of-00003.safetensors is not in the folder"),
        (name_a_shard_elsewhere, "elsewhere/model.safetensors is not in the folder"),
        (spoil_the_index, "no index of safetensors"),
        (cut_short, "model.safetensors: "),
        (rewritten(transformer_wpe_weight=None), "the model lacks transformer.wpe.weight"),
        (rewritten(score_weight=torch.ones(2, 32)), "the model has besides its shape transformer.score.weight"),
        (rewritten(transformer_wte_weight=torch.ones(VOCAB_SIZE, 40)), "embedding.weight is 61×40 instead of 61×32"),
    ],
)
def test_files_that_are_not_what_the_config_says_are_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    saved(tmp_path)
    spoil(tmp_path)
    with pytest.raises(StageError) as caught:
        start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE, CONTEXT)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no model\.safetensors; pytorch_model\.bin is a pickle") as caught:
        read_pretrained(str(tmp_path))
    assert caught.value.hint is not None and "save_pretrained" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "config.json: No such file"),
        ("[", "config.json: Expecting value"),
        ("[1]", "config.json: no JSON object"),
        ('{"model_type": "mamba"}', "the architecture mamba is not supported; supported: llama, qwen3, gpt2"),
        ('{"model_type": "gpt2"}', "nothing is said of layer_norm_epsilon, n_embd"),
    ],
)
def test_a_config_that_does_not_serve_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").unlink()
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_shape(str(tmp_path))
    assert words in str(caught.value)


def test_wrong_numbers_in_a_config_are_named(tmp_path: Path) -> None:
    saved(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"n_layer": "two", "n_head": 5}))
    with pytest.raises(UsageError, match=r"config.json: n_layers Input should be a valid integer"):
        read_shape(str(tmp_path))


@pytest.mark.parametrize("name", ["./models/mine", "/nowhere/at all", "a/b/c", "~/no such"])
def test_a_folder_that_is_not_there_is_told_by_its_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no folder /") as caught:
        find_pretrained(name, tmp_path)
    assert "is no name on the hub either" in str(caught.value)


def test_the_hub_gives_json_and_safetensors_of_the_asked_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(name=name, **options)
        return str(tmp_path / "there")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    theirs = saved(tmp_path / "there")
    read = read_pretrained("someone/model@v1.0", tmp_path)
    assert read.config == theirs.config
    assert asked == {
        "name": "someone/model",
        "revision": "v1.0",
        "allow_patterns": ["*.json", "*.safetensors"],
        "ignore_patterns": ["*/*"],
    }
    read_shape("gpt2", tmp_path)
    assert (asked["name"], asked["revision"], asked["allow_patterns"]) == ("gpt2", None, ["config.json"])


def test_without_the_hub_the_way_around_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"no folder .*/nobody/nothing, and the hub does not give") as caught:
        find_pretrained("nobody/nothing", tmp_path)
    assert caught.value.hint is not None and "hf download nobody/nothing" in caught.value.hint
