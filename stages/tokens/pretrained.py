"""Where a pretrained model's tokenizer lies: a local folder, or one that is fetched from the HuggingFace hub."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import UsageError

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


def local_folder(name: str, base: Path) -> Path | None:
    """The folder of that name, if there is one; a relative one starts at `base`."""
    folder = base / Path(name).expanduser()
    return folder if folder.is_dir() else None


def pretrained_folder(name: str, base: Path) -> Path:
    """A local folder, or the hub's files of `owner/name` or `owner/name@revision`; raises UsageError without either.

    Only files of tokenizers are fetched, and none of them is code.
    """
    if folder := local_folder(name, base):
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"tokenizer.init_from: the folder {base / Path(name).expanduser()} does not exist")
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's errors are many, and any of them means that there are no files
        told = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"tokenizer.init_from: {name} is no folder in {base}, and the hub does not give it: {told}",
            hint="check the name and the network, or download the model's files to a folder and name that",
        ) from error
