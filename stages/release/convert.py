"""Write the trained model as a HuggingFace directory, and prove that transformers computes and tokenises the same."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import read_documents
from stages.release.errors import ReleaseError
from stages.release.folder import WEIGHTS, replacing, writing
from stages.release.imatrix import quiet_transformers
from stages.release.tensorfile import FLOAT32, TensorFile, write_tensors
from stages.release.vocabulary import read_vocabulary
from stages.release.windows import MORE
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
from stages.training.huggingface import each_huggingface_tensor, family_of, huggingface_config
from stages.training.shape import ModelConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from stages.training.networks.network import Network

MAX_LOGIT_DIFFERENCE = 1e-4  # of the largest logit, or of 1 where all are smaller
MAX_TOKENS = 512  # of the text whose logits are compared: more would take memory and show nothing new
SPACE = "\u2581"
SAMPLE = "end a run with `until: pretrain` in its config; `pipeline sample` speaks with the model as it is"


def run(context: Context) -> Metrics:
    texts = [document.text for document in read_documents(context.inputs["clean"] / "val")]
    if not texts:
        raise ReleaseError("convert: there is no validation document to compare ids and logits on", hint=MORE)
    network, weights = open_checkpoint(context.inputs["finetune"])
    encoding = _open_tokenizer(context.inputs["tokenizer"])
    if reason := unreadable(network.config, isinstance(encoding, CharacterEncoding)):
        raise StageError(f"convert: {reason}", hint=SAMPLE)
    read_vocabulary(context.inputs["tokenizer"])  # refuses what llama.cpp would split otherwise
    if network.vocab_size != encoding.vocab_size:
        raise StageError(
            f"convert: the tokenizer has {encoding.vocab_size} pieces, the embedding {network.vocab_size} rows"
        )
    with writing(context.out):
        write_config(context.out, network, encoding)
        write_tokenizer(context.out, context.inputs["tokenizer"], encoding, network.context_length)
    write_weights(context.out / WEIGHTS, network, weights)
    difference = check_logits(context.out, context.inputs["finetune"], encoding, texts[0])
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


def open_checkpoint(folder: Path) -> tuple[Network, TensorFile]:
    """The trained model as a shape without weights, and its weights, none of them in memory.

    Raises ReleaseError for files that are damaged or do not fit each other.
    """
    import torch

    from stages.training.model import SHAPE, require_fit, shaped_model

    try:
        with torch.device("meta"):
            network = shaped_model(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = str(error).splitlines()[0]
        raise ReleaseError(f"{folder / SHAPE}: not the shape of a trained model: {told}") from None
    weights = TensorFile(folder / WEIGHTS)
    try:
        require_fit(network, {name: torch.empty(shape, device="meta") for name, shape in weights.shape.items()})
    except ValueError as error:
        raise ReleaseError(f"{weights.path}: {error}") from None
    return network, weights


def _open_tokenizer(folder: Path) -> Encoding:
    try:
        return load_encoding(folder)
    except Exception as error:  # the libraries raise plain exceptions for damaged files
        raise ReleaseError(f"{folder}: not a tokenizer: {_reason(str(error))}") from None


def _reason(told: str) -> str:
    """What a library says, without what it says of itself: SentencePiece names lines of its source."""
    if double := re.search(r"(\S+) is already defined", told):
        return f"the piece {double[1]!r} is there twice"
    return f"{MODEL_FILE} is damaged" if ".cc(" in told else told


def write_config(folder: Path, network: Network, encoding: Encoding) -> None:
    """`config.json` and `generation_config.json` of the stock architecture: what ends a text, and what an answer."""
    from transformers import GenerationConfig

    ids: dict[str, Any] = {"bos_token_id": encoding.bos_id, "pad_token_id": encoding.pad_id}
    config = huggingface_config(
        network.config, network.vocab_size, network.context_length, eos_token_id=encoding.eos_id, **ids
    )
    config.save_pretrained(folder)
    stops = [encoding.eos_id, *sorted(encoding.stops - {encoding.eos_id})]
    # Told no other length, transformers would go on for 256 tokens, beyond what a small GPT-2 has positions for.
    GenerationConfig(eos_token_id=stops, max_length=network.context_length, **ids).save_pretrained(folder)


def write_weights(path: Path, network: Network, weights: TensorFile) -> None:
    """All tensors in float32, one in memory at a time. Raises ReleaseError for a value that is not finite."""
    import torch

    own = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in each_huggingface_tensor(network, own.__getitem__)}
    tensors = each_huggingface_tensor(network, lambda name: torch.from_numpy(weights.read(name)))
    with replacing(path, sum(FLOAT32 * math.prod(shape) for shape in shapes.values())) as partial:
        write_tensors(partial, shapes, (tensor.numpy() for _, tensor in tensors))


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
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8", newline="\n")
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


def check_logits(folder: Path, trained: Path, encoding: Encoding, text: str) -> float:
    """The largest difference of a logit between transformers and the training model in float32; StageError if large.

    Of either model what lies in memory is the file, and only while it computes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from stages.training.model import load_model

    quiet_transformers()
    with torch.no_grad():
        model = load_model(trained, mapped=True)
        tokens = torch.tensor([[encoding.bos_id, *encoding.encode(text)][: min(model.context_length, MAX_TOKENS)]])
        ours = model(tokens)
        del model
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        difference = float((theirs(tokens).logits - ours).abs().max())
    if not difference <= MAX_LOGIT_DIFFERENCE * max(1.0, float(ours.abs().max())):
        raise StageError(f"convert: logits of transformers differ by {difference:g} from the training model's")
    return difference


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
    version=4,
    module=__name__,
    run=run,
    needs=("finetune", "tokenizer", "clean"),
    estimate=estimate,
)
