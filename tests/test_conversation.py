"""The chat: what is typed, what is asked of the model, what is shown; at last on a real terminal, with a real model."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted
from test_gguf import make_llama, train_tokenizer

from pipeline.errors import Interrupted, StageError, UsageError
from stages.corpus.readers.pairs import read_pair_lines
from stages.corpus.readers.part import Part
from stages.evaluation.chat import Settings, chat, settings_of
from stages.evaluation.conversation import Conversation
from stages.evaluation.entries import Entries, Typed
from stages.evaluation.models import open_model
from stages.evaluation.models.interface import Answer, Chat, Defaults, Prompt
from stages.evaluation.spoken import printable, until_stop
from stages.tokens.sampling import Sampling

PROJECT = Path(__file__).parents[1]
USUAL: dict[str, Any] = {"sampling": Sampling(), "max_tokens": 100, "seed": 1}


class Screen(io.StringIO):
    """A terminal to type at, to which nothing is echoed."""

    def isatty(self) -> bool:
        return True


def talk(model: Scripted, typed: str, *, terminal: bool = False, **options: Any) -> tuple[str, str]:
    """What a chat wrote to stdout, and what else it said."""
    out, notes = io.StringIO(), list[str]()
    stdin = Screen(typed) if terminal else io.StringIO(typed)
    chat(model, stdin=stdin, stdout=out, say=notes.append, **USUAL | options)
    return out.getvalue(), "\n".join(notes)


def contents(prompt: Prompt) -> list[str]:
    assert isinstance(prompt, Chat)
    return [f"{message['role'][0]}:{message['content']}" for message in prompt.messages]


def test_each_line_of_a_pipe_is_a_turn_and_answers_stand_alone() -> None:
    model = Scripted(["Hel", "lo."], ["Pin ", "15."])
    assert talk(model, "hi\n\n  \nWhich pin? \n") == ("Hello.\nPin 15.\n", "")
    assert [contents(prompt) for prompt in model.asked] == [["u:hi"], ["u:hi", "a:Hello.", "u:Which pin?"]]


def test_the_last_line_needs_no_end() -> None:
    assert talk(Scripted(["Hello."]), "hi") == ("Hello.\n", "")


def entries(text: str) -> list[Typed]:
    with Entries(io.StringIO(text), io.StringIO()) as read:
        found = []
        while (entry := read.read()) is not None:
            found.append(entry)
    return found


def test_triple_quotes_hold_several_lines() -> None:
    assert entries('"""one line"""\n') == [Typed("one line", block=True)]
    text = '"""\ndef f():\n    return "x"\n\n# end"""\nnext\n'
    assert entries(text) == [Typed('def f():\n    return "x"\n\n# end', block=True), Typed("next")]
    assert entries('/system """You\n are.\n"""\nx') == [Typed("You\n are.", "/system", block=True), Typed("x")]
    assert entries('"""\n/exit\n"""') == [Typed("/exit", block=True)]
    assert entries('say """x""" to me') == [Typed('say """x""" to me')]
    assert entries('"""the end is missing\nhere') == [Typed("the end is missing\nhere", block=True)]


def test_a_line_that_begins_with_a_path_is_no_command() -> None:
    assert entries("/dev/ttyACM0 is busy\n") == [Typed("/dev/ttyACM0 is busy")]
    assert entries(" /exit\n") == [Typed(" /exit")]
    assert entries("/set  top_k 5\r\n/?\n") == [Typed("top_k 5", "/set"), Typed("", "/?")]


@given(st.text(st.sampled_from('a "\n/'), max_size=30))
def test_any_text_between_triple_quotes_is_one_entry(text: str) -> None:
    if '"""' in text or text.endswith('"'):
        return
    lines = text.split("\n")
    assert entries(f'"""{text}"""\n') == [Typed("\n".join(lines).strip("\n"), block=True)]


def test_the_same_seed_gives_the_same_chat_and_every_turn_another_seed() -> None:
    def seeds(seed: int, typed: str = "a\nb\n/retry\n") -> list[int]:
        model = Scripted(["x"], ["y"], ["z"])
        talk(model, typed, seed=seed)
        return model.seeds

    first = seeds(7)
    assert seeds(7) == first and len(set(first)) == 3
    assert not set(seeds(8)) & set(first)
    assert all(0 <= seed < 1 << 31 for seed in first)


def test_a_reset_forgets_everything() -> None:
    model = Scripted(["x"], ["y"], ["z"])
    out, notes = talk(model, "a\nb\n/reset\na\n")
    assert contents(model.asked[2]) == ["u:a"] and model.seeds[2] == model.seeds[0]
    assert out == "x\ny\nz\n" and "forgotten" in notes


def test_a_retry_takes_the_answer_back() -> None:
    model = Scripted(["x"], ["y"], ["z"], ["w"])
    talk(model, "a\nb\n/retry\nc\n")
    assert contents(model.asked[2]) == ["u:a", "a:x", "u:b"]
    assert contents(model.asked[3]) == ["u:a", "a:x", "u:b", "a:z", "u:c"]
    with pytest.raises(UsageError, match="nothing was asked yet"):
        talk(Scripted(), "/retry\n")


def test_a_retry_after_no_answer_keeps_the_turn_before() -> None:
    model = Scripted(["x"], [], ["z"])
    _, notes = talk(model, "a\na\n/retry\n")
    assert contents(model.asked[2]) == ["u:a", "a:x", "u:a"] and "no answer" in notes


def test_the_system_message_leads_and_can_be_changed() -> None:
    model = Scripted(["x"], ["y"], ["z"])
    model.system = "its own"
    _, notes = talk(model, '/system\na\n/system Be brief.\nb\n/system ""\nc\n')
    assert contents(model.asked[0]) == ["s:its own", "u:a"]
    assert contents(model.asked[1]) == ["s:Be brief.", "u:a", "a:x", "u:b"]
    assert contents(model.asked[2])[0] == "u:a"
    assert notes.splitlines() == ["system message: its own", "system message: Be brief.", "no system message"]


def test_settings_are_shown_and_changed() -> None:
    model = Scripted(["x"])
    typed = "/set temperature 0\n/set top_k 3\n/set top_p 0.5\n/set min_p 0.1\n/set repeat_penalty 1.1\n"
    typed += "/set repeat_last_n 8\n/set max_tokens 9\n/set seed 4\n/set stop END \"\\n###\" ''\n/set\n/set stop\na\n"
    _, notes = talk(model, typed)
    assert model.samplings == [Sampling(0.0, 3, 0.5, 0.1, 1.1, 8)]
    shown = notes.splitlines()
    assert shown[9:18] == [*shown[:8], 'stop "END" "\\n###"'] and shown[18] == shown[8]
    assert shown[0] == "temperature 0.0" and shown[7] == "seed 4"


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("/set temprature 1", "no setting is called temprature"),
        ("/set temprature", "no setting is called temprature"),
        ("/set temperature warm", "temperature cannot be warm"),
        ("/set temperature -1", "temperature cannot be -1"),
        ("/set temperature nan", "temperature cannot be nan"),
        ("/set top_k 1.5", "top_k cannot be 1.5"),
        ("/set top_p 0", "top_p cannot be 0"),
        ("/set max_tokens 0", "max_tokens cannot be 0"),
        ("/set seed -1", "seed cannot be -1"),
        ('/set stop "', "stop cannot be"),
        ("/sett", "no command /sett; did you mean /set"),
        ("/save", "needs a file"),
        ("/save x.jsonl", "nothing was said yet"),
    ],
)
def test_what_cannot_be_done_is_said(typed: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        talk(Scripted(), typed)
    out, notes = talk(Scripted(["x"]), f"{typed}\nstill here\n", terminal=True)
    assert problem in notes and out == "x\n"


def test_a_model_is_asked_with_what_is_given_then_with_its_own_settings_then_with_the_usual_ones() -> None:
    model = Scripted()
    assert settings_of(model) == Settings(Sampling(0.2, 40, 1.0, 0.0, 1.0, 64), 256, ())
    model.defaults = Defaults(temperature=0.0, min_p=0.05, repeat_penalty=1.1, num_predict=99, stop=("<eos>", "a"))
    assert settings_of(model) == Settings(Sampling(0.0, 40, 1.0, 0.05, 1.1, 64), 99, ("<eos>", "a"))
    given = settings_of(
        model, temperature=0.7, top_k=0, top_p=0.9, min_p=0.0, repeat_penalty=1, max_tokens=5, stop=["x"]
    )
    assert given == Settings(Sampling(0.7, 0, 0.9, 0.0, 1.0, 64), 5, ("x",))
    assert settings_of(model, stop=[""]).stop == ("",)  # which ends nothing
    with pytest.raises(UsageError, match="must not be negative"):
        settings_of(model, temperature=float("nan"))


def test_an_error_of_the_model_does_not_end_the_chat_on_a_terminal() -> None:
    model = Scripted(["x"], StageError("gone", hint="start it"), ["y"])
    out, notes = talk(model, "a\nb\nc\n", terminal=True)
    assert out == "x\ny\n" and "error: gone\nhint: start it" in notes
    assert contents(model.asked[-1]) == ["u:a", "a:x", "u:c"]


def test_help_names_every_command() -> None:
    _, notes = talk(Scripted(), "/help\n")
    assert all(name in notes for name in ("/reset", "/retry", "/system", "/set", "/save", "/exit", "Ctrl-C", "Ctrl-D"))
    assert "kept" not in notes  # what comes over a pipe is not


def test_exit_ends_the_chat() -> None:
    assert talk(Scripted(["x"]), "a\n/exit\nb\n") == ("x\n", "")


def test_a_model_that_does_not_answer_is_refused() -> None:
    with pytest.raises(UsageError, match="not taught to answer"):
        talk(Scripted(chats=False), "a\n")


def test_an_answer_that_was_cut_says_why() -> None:
    out, notes = talk(Scripted(["a "] * 9), "hi\n", max_tokens=5)
    assert out == "a a a a a \n" and "cut off after 5 tokens; /set max_tokens 10" in notes
    _, notes = talk(Scripted(["a "] * 9, context_length=6), "hi\n")
    assert "cut off: the context of 6 tokens is full" in notes


def test_the_oldest_turns_are_left_out_when_the_context_is_full() -> None:
    model = Scripted(["x "] * 3, ["y "] * 3, ["z "] * 3, ["w "] * 3, context_length=12)
    out, notes = talk(model, "1 1\n2 2\n3 3\n4 4\n")
    assert [contents(prompt)[0] for prompt in model.asked] == ["u:1 1", "u:1 1", "u:2 2", "u:3 3"]
    assert out.splitlines() == ["x x x ", "y y y ", "z z z ", "w w w "]
    assert notes.count("the oldest turn was left out") == 2


def test_an_answer_goes_on_where_leaving_turns_out_makes_room() -> None:
    def says(prompt: Prompt, seed: int) -> Sequence[str]:
        last = contents(prompt)[-1]
        return ["x "] * 4 if last == "u:1 1" else [f"y{n} " for n in range(last.count("y"), 6)]

    model = Scripted(says=says, context_length=12)
    out, notes = talk(model, "1 1\n2 2\n")
    assert out.splitlines()[1] == "y0 y1 y2 y3 y4 y5 "
    assert contents(model.asked[2]) == ["u:2 2", "a:y0 y1 y2 y3 "]
    assert notes == "(the context is full: the oldest turn was left out)"

    model = Scripted(says=says, context_length=7)  # two turns of one word each are left out, one after the other
    chatted = Conversation(model, sampling=Sampling(), max_tokens=5, seed=1)
    chatted.turns = [{"role": role, "content": "w"} for role in ("user", "assistant") * 2]
    said = chatted.ask("2")
    assert [next(said) for _ in range(5)] == [f"y{n} " for n in range(5)]
    with pytest.raises(StopIteration) as end:
        next(said)
    assert [len(contents(prompt)) for prompt in model.asked] == [5, 4, 2]
    assert (
        end.value.value[0] == "the context is full: 2 old turns were left out"
        and "after 5 tokens" in end.value.value[1]
    )


def test_a_question_that_never_fits_costs_no_turns() -> None:
    model = Scripted(["x"], ["y"], context_length=8)
    out, notes = talk(model, "a\n" + "b " * 9 + "\nc\n", terminal=True)
    assert "9 words do not fit" in notes and contents(model.asked[-1]) == ["u:a", "a:x", "u:c"]
    assert out == "x\ny\n"


def test_only_a_question_that_is_too_long_costs_turns() -> None:
    model = Scripted(["x"], UsageError("the template refuses"), ["y"])
    _, notes = talk(model, "a\nb\nc\n", terminal=True)
    assert [contents(prompt)[0] for prompt in model.asked] == ["u:a"] * 3
    assert contents(model.asked[2]) == ["u:a", "a:x", "u:c"] and "error: the template refuses" in notes
    assert "left out" not in notes


def test_answers_end_before_a_stop_string() -> None:
    model = Scripted(["one", " #", "#", "# two"], ["ok"])
    assert talk(model, "a\nb\n", stop=["###"]) == ("one \nok\n", "")
    assert contents(model.asked[1])[1] == "a:one"


def pieces(texts: list[str], ended: bool = True) -> Any:
    yield from texts
    return Answer("".join(texts), len(texts), ended)


def through(texts: list[str], stop: Sequence[str]) -> tuple[list[str], Answer]:
    cut, out = until_stop(pieces(texts), stop), list[str]()
    while True:
        try:
            out.append(next(cut))
        except StopIteration as end:
            return out, end.value


@given(st.lists(st.text("ab", max_size=4), max_size=8), st.lists(st.text("ab", max_size=4), max_size=3))
def test_stop_strings_are_cut_wherever_they_are_parted(texts: list[str], stop: list[str]) -> None:
    whole = "".join(texts)
    lengths = range(len(whole) + 1)
    # the first moment at which the text read so far holds a stop string; there the earliest of them cuts
    ends = [end for end in lengths if any(text and text in whole[:end] for text in stop)]
    out, answer = through(texts, stop)
    shown = "".join(out)
    assert shown == answer.text and all(out)  # and no empty piece
    if not ends:
        assert shown == whole
    else:
        assert whole.startswith(shown) and answer.ended
        assert not any(text and text in shown for text in stop)
        assert any(text and whole[len(shown) :].startswith(text) for text in stop)


def test_the_earliest_of_two_stop_strings_cuts() -> None:
    assert through(["ab", "c"], ["b", "a"]) == ([], Answer("", 1, True))
    assert through(["xab", "c"], ["bc", "ab"]) == (["x"], Answer("x", 1, True))


def test_nothing_is_held_back_without_need() -> None:
    cut = until_stop(pieces(["ab", "c#", "d"]), ["##"])
    assert [next(cut), next(cut), next(cut)] == ["ab", "c", "#d"]


def test_no_character_controls_the_terminal() -> None:
    spoken = "".join(map(chr, range(0x200))) + "\x1b[2J\x9b31mé🐍"
    shown = printable(spoken)
    assert {each for each in shown if ord(each) < 32 or 0x7F <= ord(each) < 0xA0} == {"\n", "\t"}
    assert shown.endswith("[2J31mé🐍") and printable("\ud800x") == "?x"
    turned = "a\u202a\u202b\u202c\u202d\u202eb\u2066\u2067\u2068\u2069c\u05d0\u200d"
    assert printable(turned) == "abc\u05d0\u200d"  # letters from the right stay, and what joins emojis
    out, _ = talk(Scripted(["\x1b]0;title\x07", "ok\r\n"]), "a\n")
    assert out == "]0;titleok\n\n"


def test_a_saved_conversation_is_a_pair_of_the_corpus(tmp_path: Path) -> None:
    file = tmp_path / "new" / "pairs.jsonl"
    model = Scripted(["```python\nx = 1\n```\n"], ["é\u2028🐍 "], ["z"])
    model.system = "Be brief."
    _, notes = talk(model, f"a\nb\n/save {file}\n/reset\nc\n/save {file.with_suffix('')}\n")
    told = [part.messages for part in read_pair_lines(file.read_bytes()) if isinstance(part, Part)]
    system = {"role": "system", "content": "Be brief."}

    def turn(question: str, answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    assert told == [
        (system, *turn("a", "```python\nx = 1\n```"), *turn("b", "é\u2028🐍")),
        (system, *turn("c", "z")),
    ]
    assert "2 questions with answers" in notes and "mend" not in notes


def test_a_file_without_a_last_line_end_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "p", "response": "r"}')
    _, notes = talk(Scripted(["a "] * 9), f"q\n/save {file}\n", max_tokens=2)
    assert len([part for part in read_pair_lines(file.read_bytes()) if isinstance(part, Part)]) == 2
    assert "mend it" in notes
    with pytest.raises(UsageError, match="directory"):
        talk(Scripted(["x"]), f"q\n/save {tmp_path}\n")


def test_an_interrupt_over_a_pipe_ends_the_chat() -> None:
    def says(prompt: Prompt, seed: int) -> Sequence[str]:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        talk(Scripted(says=says), "a\n")
    assert caught.value.exit_code == 130


CHILD = """
import sys, time
sys.path[:0] = [{project!r}, {tests!r}]
from scripted import Scripted
from stages.evaluation.chat import chat
from stages.tokens.sampling import Sampling

def says(prompt, seed):
    if "forever" in prompt.messages[-1]["content"]:
        return Slow()
    return ["(" + " | ".join(message["content"] for message in prompt.messages) + ")"]

class Slow(list):
    def __len__(self):
        return 10**9
    def __iter__(self):
        while True:
            time.sleep(0.01)
            yield "tick "

chat(Scripted(says=says), sampling=Sampling(), max_tokens=10**6, seed=1)
print("left", file=sys.stderr)
"""


class Terminal:
    """A process at a terminal of its own."""

    def __init__(self, code: str, environment: dict[str, str]) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-c", code], os.environ | environment)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def until(self, text: str, count: int = 1, seconds: float = 30) -> None:
        """Wait until the screen has shown a text so often."""
        last = time.monotonic() + seconds
        while self.shown.count(text) < count:
            ready, _, _ = select.select([self._end], [], [], max(0.0, last - time.monotonic()))
            assert ready, self.shown
            try:
                self.shown += os.read(self._end, 4096).decode()
            except OSError:  # the process closed its terminal
                assert self.shown.count(text) >= count, self.shown

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def started(code: str, tmp_path: Path, **environment: str) -> Terminal:
    return Terminal(code, {"XDG_CACHE_HOME": str(tmp_path), "TERM": "dumb", **environment})


@pytest.fixture
def child() -> str:
    return textwrap.dedent(CHILD).format(project=str(PROJECT), tests=str(PROJECT / "tests"))


def test_ctrl_c_stops_an_answer_and_ctrl_d_the_chat(tmp_path: Path, child: str) -> None:
    screen = started(child, tmp_path)
    screen.until(">>> ")
    screen.type("hello\n")
    screen.until("(hello)")
    screen.until(">>> ", 2)
    screen.type("go on forever\n")
    screen.until("tick", 3)
    screen.type("\x03")
    screen.until("stopped")
    screen.until(">>> ", 3)
    time.sleep(0.5)  # readline shows the prompt a moment before it listens, and Python loses a Ctrl-C in between
    screen.type("\x03")  # at the prompt it ends nothing either
    screen.until("stopped", 2)
    screen.until(">>> ", 4)
    screen.type("again\n")
    screen.until("| go on forever | tick tick")
    screen.until(" | again)")
    screen.until(">>> ", 5)
    screen.type('"""two\nlines"""\n')
    screen.until("... ")
    screen.until("lines)")
    screen.until(">>> ", 6)
    screen.type("\x04")
    screen.until("left")
    assert screen.wait() == 0
    assert "Traceback" not in screen.shown


def test_lines_can_be_called_back_in_the_next_chat(tmp_path: Path, child: str) -> None:
    pytest.importorskip("readline")
    for number, typed in enumerate(["remember me\n", "\x10\x10\n"]):  # Ctrl-P: the line before
        screen = started(child, tmp_path)
        screen.until(">>> ")
        screen.type(typed)
        screen.until("(remember me)")
        if number:
            screen.type("/help\n")
            screen.until(f"kept for the arrow keys of the next chat, in {tmp_path}/pipeline/chat-history")
        screen.type("/exit\n")
        screen.until("left")
        assert screen.wait() == 0, number
    file = tmp_path / "pipeline/chat-history"
    assert file.stat().st_mode & 0o077 == 0


def test_the_chat_works_without_readline(tmp_path: Path, child: str) -> None:
    screen = started("import sys; sys.modules['readline'] = None\n" + child, tmp_path)
    screen.until(">>> ")
    screen.type("hello\n")
    screen.until("(hello)")
    screen.until(">>> ", 2)  # before it, Ctrl-D would be lost while readline takes the terminal over
    screen.type("\x04")
    screen.until("left")
    assert screen.wait() == 0 and not (tmp_path / "pipeline/chat-history").exists()


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path: Path, child: str) -> None:
    (tmp_path / "file").write_text("")
    screen = started(child, tmp_path / "file")
    screen.until(">>> ")
    screen.type("hello\n")
    screen.until("(hello)")
    screen.until(">>> ", 2)  # before it, Ctrl-D would be lost while readline takes the terminal over
    screen.type("\x04")
    screen.until("left")
    assert screen.wait() == 0


def test_an_interrupt_over_a_real_pipe_ends_the_process(tmp_path: Path, child: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin and process.stdout
    process.stdin.write(b"forever\n")
    process.stdin.flush()
    assert process.stdout.read(5) == b"tick "
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    process.stdin.close()
    process.stdout.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield make_llama(tmp_path_factory.mktemp("chat"), train_tokenizer()).write("f32")


def test_a_real_file_talks_until_its_context_is_full_and_beyond(tiny: Path) -> None:
    def written(seed: int) -> tuple[str, str]:
        out, notes = io.StringIO(), list[str]()
        typed = io.StringIO("def decode(self):\n" * 6)
        with open_model(str(tiny)) as model:
            chat(model, stdin=typed, stdout=out, say=notes.append, **USUAL | {"seed": seed, "max_tokens": 25})
        return out.getvalue(), "\n".join(notes)

    out, notes = written(1)
    assert written(1) == (out, notes) != written(2)
    assert "left out" in notes


def test_a_saved_line_is_json_in_one_line(tmp_path: Path) -> None:
    talk(Scripted(["x\ny"]), f"a\n/save {tmp_path / 'p.jsonl'}\n")
    (line,) = (tmp_path / "p.jsonl").read_text().splitlines()
    assert json.loads(line)["messages"][1] == {"role": "assistant", "content": "x\ny"}
