"""Write the trained model as a HuggingFace directory, and prove that transformers computes and tokenises the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.stage import Context, Metrics, Stage
from stages.corpus.documents import read_documents
from stages.tokens.chat import CHAT_END, CHAT_MARKERS, CHAT_TEMPLATE
from stages.tokens.encoding import BOS, EOS, FIM_MARKERS, MODEL_FILE, PAD, UNK, SentencePieceEncoding, load_encoding

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

    from stages.training.networks.network import Network

MAX_LOGIT_DIFFERENCE = 1e-4
SPACE = "\u2581"


def run(context: Context) -> Metrics:
    from stages.training.model import load_model

    model = load_model(context.inputs["finetune"])
    encoding = load_encoding(context.inputs["tokenizer"])
    if model.vocab_size != encoding.vocab_size:
        raise StageError(
            f"convert: the tokenizer has {encoding.vocab_size} pieces, the embedding {model.vocab_size} rows"
        )
    write_weights(context.out, model, encoding)
    write_tokenizer(context.out, context.inputs["tokenizer"] / MODEL_FILE, model.context_length)
    texts = [document.text for document in read_documents(context.inputs["clean"] / "val")]
    difference = check_logits(context.out, model, encoding, texts[0])
    compared = check_tokens(context.out, encoding, texts)
    context.say(f"transformers agrees: logits within {difference:.1e}, {compared:,} token ids the same")
    return {"max_logit_difference": difference, "tokens_compared": compared}


def write_weights(folder: Path, model: Network, encoding: SentencePieceEncoding) -> None:
    """`config.json`, `generation_config.json` and `model.safetensors` (float32) of a LlamaForCausalLM."""
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig

    shape = model.config
    ids: dict[str, Any] = {"bos_token_id": encoding.bos_id, "pad_token_id": encoding.pad_id}
    config = LlamaConfig(
        vocab_size=model.vocab_size,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_ff,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=model.context_length,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        eos_token_id=encoding.eos_id,
        **ids,
    )
    config.save_pretrained(folder)
    stops = [encoding.eos_id, encoding.token_id(CHAT_END)]
    GenerationConfig(eos_token_id=stops, **ids).save_pretrained(folder)
    save_file(huggingface_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})


def huggingface_tensors(model: Network) -> dict[str, Tensor]:
    """The weights under HuggingFace's names; a tied output matrix is left out, as transformers does."""
    shape = model.config
    kv_rows, q_rows = shape.n_kv_heads * shape.head_dim, shape.n_heads * shape.head_dim
    own = {name: tensor.detach().float().cpu() for name, tensor in model.state_dict().items()}
    tensors = {"model.embed_tokens.weight": own["embedding.weight"], "model.norm.weight": own["norm.weight"]}
    if not shape.tie_embeddings:
        tensors["lm_head.weight"] = own["output.weight"]
    for layer in range(shape.n_layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        q, k, v = own[ours + "attention.qkv.weight"].split([q_rows, kv_rows, kv_rows])
        gate, up = own[ours + "feed_forward.gate_up.weight"].chunk(2)
        tensors |= {
            theirs + "input_layernorm.weight": own[ours + "attention_norm.weight"],
            theirs + "self_attn.q_proj.weight": q,
            theirs + "self_attn.k_proj.weight": k,
            theirs + "self_attn.v_proj.weight": v,
            theirs + "self_attn.o_proj.weight": own[ours + "attention.output.weight"],
            theirs + "post_attention_layernorm.weight": own[ours + "feed_forward_norm.weight"],
            theirs + "mlp.gate_proj.weight": gate,
            theirs + "mlp.up_proj.weight": up,
            theirs + "mlp.down_proj.weight": own[ours + "feed_forward.down.weight"],
        }
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def write_tokenizer(folder: Path, model_file: Path, context_length: int) -> None:
    """`tokenizer.model` as it is, and the same as `tokenizer.json`, with the chat template.

    transformers 5 does not write `tokenizer.model` itself, and without it llama.cpp's converter loses all scores.
    """
    shutil.copyfile(model_file, folder / MODEL_FILE)
    fast_tokenizer(model_file).save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "backend": "tokenizers",
        "model_max_length": context_length,
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNK,
        "pad_token": PAD,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def fast_tokenizer(model_file: Path) -> Tokenizer:
    """A HuggingFace tokenizer that gives SentencePiece's ids: BPE over the whole text, with byte fallback.

    SentencePiece stores pieces without merges; each piece gives a merge for every way to cut it into two pieces, in
    the order of the pieces, which is the order in which SentencePiece applies them.
    """
    from sentencepiece import SentencePieceProcessor
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
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
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    names = (UNK, BOS, EOS, PAD, *CHAT_MARKERS, *FIM_MARKERS)
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in names])
    return tokenizer


def check_logits(folder: Path, model: Network, encoding: SentencePieceEncoding, text: str) -> float:
    """The largest difference of a logit between transformers and the training model in float32; StageError if large."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.tensor([[encoding.bos_id, *encoding.encode(text)][: model.context_length]])
    with torch.no_grad():
        difference = float((theirs(tokens).logits - model(tokens)).abs().max())
    if not difference <= MAX_LOGIT_DIFFERENCE:
        raise StageError(f"convert: logits of transformers differ by {difference:g} from the training model's")
    return difference


def quiet_transformers() -> None:
    """No progress bars and no advice from transformers among our own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def check_tokens(folder: Path, encoding: SentencePieceEncoding, texts: list[str]) -> int:
    """How many ids were compared between the HuggingFace tokenizer and SentencePiece; StageError where any differs."""
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
    version=2,
    module=__name__,
    run=run,
    needs=("finetune", "tokenizer", "clean"),
)
