"""Validation text for the proof and for calibration: what is taken, and that the two are apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_convert import corpus, program, write_tokenizer

from stages.corpus.documents import Document, document_id, write_documents
from stages.release.errors import ReleaseError
from stages.release.windows import tokens_in, validation_windows
from stages.tokens.encoding import Encoding, load_encoding

CONTEXT = 64


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Encoding:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, "sentencepiece", [program(index) for index in range(12)])
    return load_encoding(folder)


def written(folder: Path, *texts: str, kind: str = "code") -> Path:
    documents = [
        Document(document_id("a", str(index)), text, kind, "a", str(index), "MIT")  # type: ignore[arg-type]
        for index, text in enumerate(texts)
    ]
    write_documents(folder, documents)
    return folder


def rejoined(windows: tuple[list[int], ...]) -> list[int]:
    return [token for window in windows for token in window[1:]]


@pytest.mark.parametrize("length", [8, CONTEXT, 1000])
def test_windows_hold_every_token_of_whole_texts_once(encoding: Encoding, tmp_path: Path, length: int) -> None:
    documents = corpus(4)
    write_documents(tmp_path, documents)
    found = validation_windows(tmp_path, encoding, length, tokens=10**9)
    assert all(window[0] == 1 and 2 <= len(window) <= length + 1 for window in found.proof)
    wanted = sorted((each for each in documents if each.kind != "pair"), key=lambda each: each.id)
    assert rejoined(found.proof) == [token for each in wanted for token in [*encoding.encode(each.text), 2]]
    assert found.calibration == ()


@pytest.mark.parametrize("tokens", [1, 64, 65, 300, 700])
@pytest.mark.parametrize("calibration", [0, 1, 200, 400])
def test_no_more_is_taken_than_asked_and_the_proof_s_text_does_not_depend_on_calibration(
    encoding: Encoding, tmp_path: Path, tokens: int, calibration: int
) -> None:
    folder = written(tmp_path, *map(program, range(30)))
    found = validation_windows(folder, encoding, CONTEXT, tokens=tokens, calibration=calibration)
    assert tokens <= tokens_in(found.proof) < tokens + CONTEXT
    assert calibration <= tokens_in(found.calibration) < calibration + CONTEXT
    assert found.proof == validation_windows(folder, encoding, CONTEXT, tokens=tokens).proof
    assert found.apart == "documents"
    assert not {tuple(window) for window in found.proof} & {tuple(window) for window in found.calibration}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=2, max_size=6), st.integers(64, 2000), st.integers(1, 2000))
def test_documents_are_never_in_both(
    encoding: Encoding, tmp_path_factory: pytest.TempPathFactory, lines: list[int], tokens: int, calibration: int
) -> None:
    texts = ["".join(f"x{index} = {line}\n" for line in range(count + 5)) for index, count in enumerate(lines)]
    folder = written(tmp_path_factory.mktemp("val"), *texts)
    found = validation_windows(folder, encoding, CONTEXT, tokens=tokens, calibration=calibration)
    owner = {
        (1, *ids[at : at + CONTEXT]): index
        for index, text in enumerate(texts)
        for ids in [[*encoding.encode(text), 2]]
        for at in range(0, len(ids), CONTEXT)
    }
    told = (window for window in found.proof), (window for window in found.calibration)
    proof, other = ({owner[tuple(window)] for window in windows if len(window) > 9} for windows in told)
    assert found.apart == "documents" and proof and other and not proof & other


def test_too_little_text_is_shared_in_proportion(encoding: Encoding, tmp_path: Path) -> None:
    folder = written(tmp_path, *map(program, range(30)))
    everything = tokens_in(validation_windows(folder, encoding, CONTEXT, tokens=10**9).proof)
    found = validation_windows(folder, encoding, CONTEXT, tokens=30_000, calibration=10_000)
    share = tokens_in(found.proof) / everything
    assert share == pytest.approx(0.75, abs=0.08)
    assert tokens_in(found.calibration) + tokens_in(found.proof) >= everything - 2 * CONTEXT


def test_one_document_is_shared_by_windows_and_one_window_by_nobody(encoding: Encoding, tmp_path: Path) -> None:
    long = written(tmp_path / "long", "".join(map(program, range(10))))
    found = validation_windows(long, encoding, CONTEXT, tokens=500, calibration=500)
    assert found.apart == "windows" and found.proof and found.calibration
    assert not {tuple(window) for window in found.proof} & {tuple(window) for window in found.calibration}
    short = validation_windows(written(tmp_path / "short", "x = 1\n"), encoding, CONTEXT, tokens=500, calibration=500)
    assert short.apart == "nothing" and short.proof == short.calibration and len(short.proof) == 1


def test_conversations_count_only_where_there_is_nothing_else(encoding: Encoding, tmp_path: Path) -> None:
    pairs = [each for each in corpus(0) if each.kind == "pair"]
    write_documents(tmp_path / "pairs", pairs)
    assert len(rejoined(validation_windows(tmp_path / "pairs", encoding, CONTEXT, tokens=10**9).proof)) == sum(
        len(encoding.encode(each.text)) + 1 for each in pairs
    )
    write_documents(tmp_path / "none", [])
    with pytest.raises(ReleaseError, match="holds no text"):
        validation_windows(tmp_path / "none", encoding, CONTEXT, tokens=64)
