"""Write the trained model as a HuggingFace directory, and prove that transformers computes and tokenises the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import read_documents
from stages.tokens.chat import CHAT_MARKERS, CHAT_TEMPLATE
from stages.tokens.encoding import (
    BOS,
    EOS,
    FIM_MARKERS,
    MODEL_FILE,
    PAD,
    UNK,
    ByteLevelEncoding,
    CharacterEncoding,
    Encoding,
    load_encoding,
)
from stages.training.huggingface import family_of, huggingface_config, huggingface_tensors
from stages.training.shape import ModelConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from stages.training.networks.network import Network

MAX_LOGIT_DIFFERENCE = 1e-4  # of the largest logit, or of 1 where all are smaller
SPACE = "\u2581"
SAMPLE = "end a run with `until: pretrain` in its config; `pipeline sample` speaks with the model as it is"


def run(context: Context) -> Metrics:
    from stages.training.model import load_model

    model = load_model(context.inputs["finetune"])
    encoding = load_encoding(context.inputs["tokenizer"])
    if reason := unreadable(model.config, isinstance(encoding, CharacterEncoding)):
        raise StageError(f"convert: {reason}", hint=SAMPLE)
    if model.vocab_size != encoding.vocab_size:
        raise StageError(
            f"convert: the tokenizer has {encoding.vocab_size} pieces, the embedding {model.vocab_size} rows"
        )
    write_weights(context.out, model, encoding)
    write_tokenizer(context.out, context.inputs["tokenizer"], encoding, model.context_length)
    texts = [document.text for document in read_documents(context.inputs["clean"] / "val")]
    difference = check_logits(context.out, model, encoding, texts[0])
    compared = check_tokens(context.out, encoding, texts)
    context.say(f"transformers agrees: logits within {difference:.1e}, {compared:,} token ids the same")
    return {"max_logit_difference": difference, "tokens_compared": compared}


def estimate(sections: Mapping[str, Section]) -> list[str]:
    """What will be refused, for `plan`: before the training that would be for nothing."""
    shape = sections["model"]
    assert isinstance(shape, ModelConfig)
    reason = unreadable(shape, sections["tokenizer"].model_dump()["kind"] == "char")
    return [f"this will fail: {reason}; {SAMPLE}"] if reason else []


def unreadable(shape: ModelConfig, characters: bool) -> str:
    """Why neither transformers nor llama.cpp reads such a model; empty where they do."""
    if characters:
        return "no runtime reads a tokenizer of kind char"
    try:
        family_of(shape)
    except StageError as error:
        return str(error)
    return ""


def write_weights(folder: Path, model: Network, encoding: Encoding) -> None:
    """`config.json`, `generation_config.json` and `model.safetensors` (float32) of the stock architecture."""
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    ids: dict[str, Any] = {"bos_token_id": encoding.bos_id, "pad_token_id": encoding.pad_id}
    config = huggingface_config(
        model.config, model.vocab_size, model.context_length, eos_token_id=encoding.eos_id, **ids
    )
    config.save_pretrained(folder)
    stops = [encoding.eos_id, *sorted(encoding.stops - {encoding.eos_id})]
    GenerationConfig(eos_token_id=stops, **ids).save_pretrained(folder)
    save_file(huggingface_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})


def write_tokenizer(folder: Path, trained: Path, encoding: Encoding, context_length: int) -> None:
    """The tokenizer of the folder `trained` as transformers reads it, with the chat template.

    Either kind puts its start of text before a text by itself, as training did. transformers 5 does not write
    SentencePiece's `tokenizer.model` itself, and without it llama.cpp's converter loses all scores.
    """
    if isinstance(encoding, ByteLevelEncoding):
        tokenizer = byte_level_tokenizer(encoding)
        own: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": encoding.bos_token,
            "eos_token": encoding.eos_token,
            "pad_token": encoding.pad_token,
        }
    else:
        shutil.copyfile(trained / MODEL_FILE, folder / MODEL_FILE)
        tokenizer = fast_tokenizer(trained / MODEL_FILE)
        roles = {"bos_token": BOS, "eos_token": EOS, "unk_token": UNK, "pad_token": PAD}
        own = {"tokenizer_class": "LlamaTokenizer", "backend": "tokenizers", **roles, "legacy": False}
    tokenizer.save(str(folder / "tokenizer.json"))
    config = own | {
        "model_max_length": context_length,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def byte_level_tokenizer(encoding: ByteLevelEncoding) -> Tokenizer:
    """The trained tokenizer, which from now on starts each text with its start of text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoding.tokenizer.to_str())
    _start_texts(tokenizer, encoding.bos_token, encoding.bos_id)
    return tokenizer


def _start_texts(tokenizer: Tokenizer, bos: str, bos_id: int) -> None:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, bos_id)]
    )


def fast_tokenizer(model_file: Path) -> Tokenizer:
    """A HuggingFace tokenizer that gives SentencePiece's ids: BPE over the whole text, with byte fallback.

    SentencePiece stores pieces without merges; each piece gives a merge for every way to cut it into two pieces, in
    the order of the pieces, which is the order in which SentencePiece applies them.
    """
    from sentencepiece import SentencePieceProcessor
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers
    from tokenizers.models import BPE

    processor = SentencePieceProcessor(model_proto=model_file.read_bytes())
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for index, piece in enumerate(pieces)
        if not (processor.is_control(index) or processor.is_byte(index) or processor.is_unknown(index))
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token=UNK, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    _start_texts(tokenizer, BOS, vocabulary[BOS])
    names = (UNK, BOS, EOS, PAD, *CHAT_MARKERS, *FIM_MARKERS)
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in names])
    return tokenizer


def check_logits(folder: Path, model: Network, encoding: Encoding, text: str) -> float:
    """The largest difference of a logit between transformers and the training model in float32; StageError if large."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.tensor([[encoding.bos_id, *encoding.encode(text)][: model.context_length]])
    with torch.no_grad():
        ours = model(tokens)
        difference = float((theirs(tokens).logits - ours).abs().max())
    if not difference <= MAX_LOGIT_DIFFERENCE * max(1.0, float(ours.abs().max())):
        raise StageError(f"convert: logits of transformers differ by {difference:g} from the training model's")
    return difference


def quiet_transformers() -> None:
    """No progress bars and no advice from transformers among our own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def check_tokens(folder: Path, encoding: Encoding, texts: list[str]) -> int:
    """How many ids were compared between the HuggingFace tokenizer and ours; StageError where any differs."""
    from transformers import AutoTokenizer

    quiet_transformers()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    compared = 0
    for text in texts:
        ours = encoding.encode(text)
        theirs = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if ours != theirs:
            raise StageError(f"convert: the HuggingFace tokenizer gives other ids for {text[:60]!r}…")
        compared += len(ours)
    return compared


STAGE = Stage(
    name="convert",
    version=3,
    module=__name__,
    run=run,
    needs=("finetune", "tokenizer", "clean"),
    estimate=estimate,
)
