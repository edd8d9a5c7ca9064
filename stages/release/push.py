"""Upload a release to the Hugging Face Hub: one commit, of what SHA256SUMS lists and nothing else.

In a repository the folder `huggingface/` is its root: there `from_pretrained("user/name")`, the Hub's own pages and
`ollama run hf.co/user/name` look for `config.json`, the tokenizer and the GGUF files. The card and SHA256SUMS are
uploaded as they are right in that layout.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import IntegrityError, StageError, UsageError
from stages.release.card import hub_card
from stages.release.publish import SUMS, problems, read_sums
from stages.release.usage import HUGGINGFACE

CARD = "README.md"
REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
THEIRS = frozenset({".gitattributes", CARD, "LICENSE"})  # what the Hub's own pages put into a new repository
TOKENS = "https://huggingface.co/settings/tokens"


class HubError(StageError):
    """The Hub could not be asked, or did not do as asked."""


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload the release in `folder` to `user/name`, which is made where it does not exist; returns its address.

    What an earlier release brought and this one has no more is deleted in the same commit; other files stay. Raises
    UsageError for a bad name, IntegrityError for a damaged release, and HubError, also where the repository holds a
    model that is not ours, or can be seen by everybody though `private` was asked.
    """
    if not REPOSITORY.fullmatch(repository) or "--" in repository or ".." in repository:
        raise UsageError(
            f"`{repository}` is no name of a repository on the Hub",
            hint="--push USER/NAME  with letters, digits and single - _ .",
        )
    sums = read_sums(folder)
    for problem in problems(folder, sums):
        raise IntegrityError(f"{folder}: {problem}", hint="pipeline export  puts the release there again")
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise HubError("the package huggingface_hub is missing", hint="pip install huggingface_hub") from None
    token = get_token()
    if not token:
        raise HubError(
            "there is no token for the Hub", hint=f"hf auth login  with a token that may write, from {TOKENS}"
        )
    api = HfApi(token=token)
    with _explained(repository, token, api.endpoint):
        url = str(api.create_repo(repository, private=private, exist_ok=True))
        before = _present(api, repository, private)
        operations = _operations(folder, sums, repository, before)
        api.create_commit(repository, operations, commit_message=f"Release {folder.resolve().name}")
    return url


def _present(api: Any, repository: str, private: bool) -> frozenset[str]:
    """The files of an earlier release in the repository. Raises HubError where it is not one to upload to."""
    info = api.model_info(repository)
    if private and not info.private:
        raise HubError(f"{repository} can be seen by everybody", hint="--public  uploads to it all the same")
    names = {file.rfilename for file in info.siblings or ()}
    if not names - THEIRS:
        return frozenset()
    if SUMS not in names:
        raise HubError(
            f"{repository} holds something else: {sorted(names - THEIRS)[0]}, and no {SUMS}",
            hint="upload to another name, or empty that repository first",
        )
    listed = Path(api.hf_hub_download(repository, SUMS))
    return frozenset(read_sums(listed.parent)) & names


def _operations(folder: Path, sums: dict[str, str], repository: str, before: frozenset[str]) -> list[Any]:
    """One commit's worth of files, under their names in the repository, and the deletion of those that are no more."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    card = hub_card((folder / CARD).read_text(encoding="utf-8"), repository).encode()
    contents: dict[str, bytes | Path] = {CARD: card}
    lines = [f"{hashlib.sha256(card).hexdigest()}  {CARD}\n"]
    for name, digest in sums.items():
        placed = name.removeprefix(f"{HUGGINGFACE}/")
        if name == CARD:
            continue
        if placed in contents or placed == SUMS:
            raise HubError(f"two files of the release would be {placed} in the repository")
        contents[placed] = folder / name
        lines.append(f"{digest}  {placed}\n")
    contents[SUMS] = "".join(sorted(lines, key=lambda line: line[66:])).encode()
    added = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=content if isinstance(content, bytes) else str(content))
        for name, content in sorted(contents.items())
    ]
    return [*added, *(CommitOperationDelete(path_in_repo=name) for name in sorted(before - contents.keys()))]


@contextmanager
def _explained(repository: str, token: str, endpoint: str) -> Iterator[None]:
    """Turn what goes wrong on the way into a HubError; the token is in no message."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except StageError:
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = error.server_message or next(iter(str(error).splitlines()), "")
        reason = f"{status}: {said}".replace(token, "…")
        if status == 401:
            raise HubError(f"the Hub does not know the token ({reason})", hint=f"hf auth login  ({TOKENS})") from None
        if status in (403, 404):
            raise HubError(
                f"the token may not write to {repository} ({reason})",
                hint=f"take a token that may write, and a name of your own or of your organisation: {TOKENS}",
            ) from None
        raise HubError(f"the Hub refused {repository} ({reason})", hint="try again later: it has not changed") from None
    except Exception as error:  # its client lets through the errors of several libraries
        said = "; ".join(dict.fromkeys(_reasons(error))).replace(token, "…")
        raise HubError(f"{endpoint}: {said}", hint="the same command again; what was sent is not sent twice") from None


def _reasons(error: BaseException) -> Iterator[str]:
    """What an error says, and what those say that it came from, each on a line."""
    yield " ".join(str(error).split())[:300] or type(error).__name__
    if error.__cause__ is not None:
        yield from _reasons(error.__cause__)
