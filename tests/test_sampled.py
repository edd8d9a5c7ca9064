"""What `pipeline sample` takes for a prompt, and what it writes; at last with a real file in llama.cpp."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted
from test_gguf import make_llama, train_tokenizer

from pipeline.errors import UsageError
from stages.evaluation.models import open_model
from stages.evaluation.models.interface import Chat, Gap, Prompt, Text
from stages.evaluation.sample import read_prompt, sample
from stages.evaluation.spoken import printable
from stages.tokens.sampling import Sampling

PROJECT = Path(__file__).parents[1]
USUAL: dict[str, Any] = {"sampling": Sampling(), "max_tokens": 100, "seed": 5}


def sampled(model: Any, prompt: Prompt, **options: Any) -> str:
    out = io.StringIO()
    sample(model, prompt, stdout=out, **USUAL | options)
    return out.getvalue()


def test_a_text_stands_before_what_follows_and_an_answer_alone() -> None:
    assert sampled(Scripted(["Pin", "(1)"]), Text("led = ")) == "led = Pin(1)\n"
    assert sampled(Scripted(["Pin(1)"]), Text("")) == "Pin(1)\n"
    assert sampled(Scripted([]), Text("led = ")) == "led = \n"
    assert sampled(Scripted(["Pin(1)"]), Chat(({"role": "user", "content": "q"},))) == "Pin(1)\n"
    assert sampled(Scripted(["Pin(1)"], fills=True), Gap("a", "b")) == "Pin(1)\n"


def test_texts_have_seeds_of_their_own_and_long_ones_are_parted() -> None:
    model = Scripted(["a\n", "b"], ["c"], ["d\ne"])
    assert sampled(model, Text(""), samples=3) == "a\nb\n---\nc\nd\ne\n"
    assert model.seeds == [5, 6, 7]
    assert sampled(Scripted(["b"], ["c"]), Text("a\n"), samples=2) == "a\nb\n---\na\nc\n"


def test_texts_end_before_stop_strings() -> None:
    assert sampled(Scripted(["one\n", "\n\n", "two"]), Text(""), stop=["\n\n\n", ""]) == "one\n"
    assert sampled(Scripted(["``", "`", "x"]), Text("a"), stop=["```"]) == "a\n"


def test_json_has_a_line_for_each_text() -> None:
    model = Scripted(["a\n", "é\x1b"], ["b", "##", "c"], ["d"] * 200)
    lines = sampled(model, Text("p"), samples=3, stop=["##"], json=True).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"seed": 5, "text": "a\né\x1b", "tokens": 2, "ended": True},
        {"seed": 6, "text": "b", "tokens": 2, "ended": True},
        {"seed": 7, "text": "d" * 100, "tokens": 100, "ended": False},
    ]


def test_no_character_controls_the_terminal() -> None:
    assert sampled(Scripted(["a\x1b[2J", "\x07b"]), Text("p\x1b")) == "pa[2Jb\n"


def test_a_prompt_comes_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "main.py"
    file.write_bytes("é = 1\r\n\n".encode())
    assert read_prompt("x = ") == Text("x = ")
    assert read_prompt(file=file) == Text("é = 1\r\n\n")
    assert read_prompt("-", stdin=io.StringIO("a\nb\n\n")) == Text("a\nb\n")
    assert read_prompt(file=Path("-"), stdin=io.StringIO("a")) == Text("a")
    assert read_prompt(" Blink? \n", chat=True) == Chat(({"role": "user", "content": "Blink?"},))
    assert read_prompt(prefix="a") == Gap("a", "") and read_prompt(suffix="b") == Gap("", "b")
    assert read_prompt(prefix=f"@{file}", suffix="@@property") == Gap("é = 1\r\n\n", "@property")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"text": "a", "file": Path("x")}, "give one"),
        ({"text": "a", "prefix": "b"}, "give one"),
        ({"prefix": "b", "chat": True}, "does not go with"),
        ({"text": " ", "chat": True}, "needs a question"),
        ({"file": Path("/no/such")}, "No such file"),
        ({"file": Path("/")}, "directory"),
        ({"file": Path(sys.executable)}, "no UTF-8"),
        ({"prefix": "@property"}, "No such file"),
    ],
)
def test_what_is_no_prompt_is_said(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        read_prompt(**given)
    if "prefix" in given and "chat" not in given and "text" not in given:
        assert caught.value.hint and "@@property" in caught.value.hint


CHILD = "from stages.evaluation.sample import read_prompt; print(repr(read_prompt()))"


@pytest.mark.parametrize(
    ("stdin", "text"),
    [("pipe", "piped"), ("file", "filed"), ("null", ""), ("closed", ""), ("socket", "")],
    ids=lambda each: each,
)
def test_what_is_piped_in_is_the_prompt(tmp_path: Path, stdin: str, text: str) -> None:
    file = tmp_path / "text"
    file.write_text("filed\n")
    command: list[str] = [sys.executable, "-c", CHILD]
    if stdin == "closed":
        command = ["sh", "-c", '"$@" <&-', "sh", *command]
    ours, theirs = socket.socketpair()  # such as a service is started with: nothing ever comes
    with file.open() as opened, ours, theirs:
        given: dict[str, Any] = {
            "pipe": {"input": "piped\n"},
            "file": {"stdin": opened},
            "null": {"stdin": subprocess.DEVNULL},
            "closed": {},
            "socket": {"stdin": theirs},
        }[stdin]
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=60, **given)
    assert done.stdout == f"{Text(text)!r}\n", done.stderr


def test_bytes_that_are_no_text_do_not_end_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=b"a\xff\n", capture_output=True, cwd=PROJECT, timeout=60,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:surrogateescape"},
    )  # fmt: skip
    assert b"Text(text='a?')" in done.stdout, done.stderr


def test_a_real_file_writes_what_its_runtime_draws(tmp_path: Path) -> None:
    path = make_llama(tmp_path, train_tokenizer()).write("f32")
    with open_model(str(path)) as model:
        texts = [json.loads(line) for line in sampled(model, Text("def "), samples=2, json=True).splitlines()]
        plain = sampled(model, Text("def "), max_tokens=100)
        cut = sampled(model, Text("def "), stop=[texts[0]["text"][3:8]])
        gap = json.loads(sampled(model, Gap("def f(x):\n", "    return y\n"), max_tokens=7, json=True))
        with pytest.raises(UsageError, match="does not fit"):
            sampled(model, Text("word " * 200))
    assert [text["seed"] for text in texts] == [5, 6] and texts[0]["text"] != texts[1]["text"]
    assert plain == printable(f"def {texts[0]['text']}\n") and cut == printable(f"def {texts[0]['text'][:3]}\n")
    assert gap["tokens"] == 7 and not gap["ended"]
