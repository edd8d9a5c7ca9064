"""What licences demand to travel on is in the release, each text once, under the names of what it came with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.corpus.documents import Document
from stages.release.notices import RULE, notices

MIT = "MIT License\n\nCopyright (c) 2022 Ada\n\nPermission is hereby granted\n"


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    (tmp_path / "licenses/001").mkdir(parents=True)
    (tmp_path / "licenses/001/LICENSE").write_bytes(MIT.encode() + b"\xff")
    rows = [
        {"source": "corpus/code", "license_files": []},
        {"source": "git:x@1", "license_files": ["licenses/001/LICENSE"]},
    ]
    (tmp_path / "sources.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def document(path: str, notice: str = "") -> Document:
    return Document(path, "x = 1\n", "code", "git:x@1", path, "MIT", {"notice": notice} if notice else {})


def test_each_notice_stands_once_under_the_names_that_have_it(gathered: Path) -> None:
    documents = [document("a.py", "# by Bob\n"), document("b.py"), document("c.py", "# by Bob")]
    assert notices(gathered, documents) == (
        "What this model was trained on came with these notices.\n\n"
        f"{RULE}\ngit:x@1: LICENSE\n{RULE}\n\n{MIT}\ufffd\n\n"
        f"{RULE}\ngit:x@1: a.py\ngit:x@1: c.py\n{RULE}\n\n# by Bob\n"
    )


def test_of_many_names_a_few_are_told(gathered: Path) -> None:
    text = notices(gathered, (document(f"{number}.py", "# by Bob") for number in range(40)))
    assert "git:x@1: 4.py\nand 35 more\n" in text and "5.py" not in text


def test_without_any_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "sources.jsonl").write_text(json.dumps({"source": "a", "license_files": []}) + "\n")
    assert notices(tmp_path, [document("a.py")]) == ""
