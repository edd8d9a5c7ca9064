"""The program in what a model wrote."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator
from itertools import pairwise

LANGUAGES = ("", "python", "python3", "py", "micropython", "upy")
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*?)[ \t]*")
_CODE_LINE = re.compile(
    r"""\s*(?:
        import\ [\w., ]+ | from\ [\w.]+\ import\b.* | (?:async\ )?def\ \w+\(.* | class\ \w+.*: | @\w.*
        | (?:async\ )?(?:if|elif|else|for|while|with|try|except|finally)\b.*:
        | (?:return|raise|yield|await|assert|del|global|nonlocal)\b.* | pass | break | continue | \#.*
        | [\w.]+(?:\[.*\])?(?:,\s*[\w.]+)*\s*(?:[-+*/%&|^]|//|<<|>>|\*\*)?=\s*\S.* | [\w.]+\(.* | [\])}]+.*
        )\s*(?:\#.*)?""",
    re.VERBOSE,
)
_STRING = re.compile(
    r'''"""(?:\\.|[^\\])*?(?:"""|\Z)|\'\'\'(?:\\.|[^\\])*?(?:\'\'\'|\Z)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|#[^\n]*''',
    re.DOTALL,
)
_STOPS = re.compile(r"^(?:```|~~~|<\||</?s>|\[/?INST\]|>>> )", re.MULTILINE)
_DEFINES = re.compile(r"(?:async )?def |class |@")
_FOR_EVER = re.compile(r"while (?:True|1):")
_BREAK = re.compile(r"\b(?:break|return)\b")
_GOES_ON = re.compile(r"(?:else|elif|except|finally)\b|[)\]}]")


def code_of(answer: str) -> str:
    """The program that an answer gives, or nothing where it gives none.

    Blocks between fences count, named as Python or not at all. Of several, the last one is meant, as LiveCodeBench
    reads answers (a first draft, then the program), together with as many blocks before it as it needs: a loop that
    uses the functions of an earlier block is no program without it, and an example of how to call a function does not
    take the place of the function. The first block (simple-evals) or the longest (EvalPlus) would lose one or the
    other. Without a fence it is the answer itself if most of that is code, less the sentences before and after it.
    """
    answer = answer.replace("\r\n", "\n").replace("\n\ufeff", "\n").removeprefix("\ufeff")
    fenced = [*_fenced(answer)]
    if not fenced:
        return _bare(answer)
    blocks = [block for language, block in fenced if language in LANGUAGES and block.strip()]
    blocks = [block for block in blocks if _does_something(block)] or blocks[-1:]
    for first in range(len(blocks) - 1, 0, -1):
        program = "\n".join(blocks[first:])
        if not _missing(program) & _defined("\n".join(blocks[:first])):
            return program
    return "\n".join(blocks)


def completed(prefix: str, text: str, *, ended: bool = True) -> str:
    """The program that a model made of `prefix` by going on with `text`, up to where that program ends.

    A function or class that the prefix began is ended by the next line at the margin, as in HumanEval (Chen et al.
    2021, arXiv:2107.03374). Otherwise nothing is left of what follows a loop for ever or starts another program with
    its docstring. A fence and a marker of a chat end both. Where the model did not end by itself, its last line is
    taken for unfinished.
    """
    if found := _STOPS.search(text):
        text, ended = text[: found.start()], True
    program = prefix + text
    before = [start for start in _starts(prefix) if prefix[start] != "#"]
    starts = [
        start for start in _starts(program) if start >= len(prefix) and (start == 0 or program[start - 1] == "\n")
    ]
    if not prefix.endswith("\n"):
        starts = [start for start in starts if start != len(prefix)] if prefix else starts
    if before and _DEFINES.match(prefix, before[-1]) and not _at_margin(prefix):
        if starts:
            return program[: starts[0]]
    else:
        for start, following in pairwise([*before[-1:], *starts]):
            endless = _FOR_EVER.match(program, start) and not _BREAK.search(program, start, following)
            if endless or program.startswith(('"""', "'''"), following):
                return program[:following]
    return program if ended else program[: max(len(prefix), program.rfind("\n") + 1)]


def _at_margin(prefix: str) -> bool:
    """Whether a text ended with a line at the margin that begins nothing."""
    last = prefix.rstrip().rpartition("\n")[2]
    return last.startswith("#")


def _fenced(answer: str) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block (CommonMark 0.31, section 4.5), one that is not closed among them."""
    opened, language, lines = None, "", list[str]()
    for line in answer.removesuffix("\n").split("\n"):
        found = _FENCE.fullmatch(line)
        if opened is None:
            if found:
                words = found[3].replace("{", " ").replace("}", " ").split()
                opened, language, lines = found, words[0].strip(".").lower() if words else "", []
        elif found and found[2].startswith(opened[2]) and not found[3]:
            yield language, _block(lines, opened[1])
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        yield language, _block(lines, opened[1])


def _block(lines: list[str], margin: str) -> str:
    return "".join(f"{line.removeprefix(margin)}\n" for line in lines)


def _bare(answer: str) -> str:
    """An answer without fences, where most of it is code."""
    if _tree(answer):
        return answer if _does_something(answer) else ""
    lines = [*_lines(answer)]
    marked = [number for number, line in enumerate(lines) if _CODE_LINE.fullmatch(line.rstrip("\n"))]
    kept = lines[marked[0] : marked[-1] + 1] if marked else []
    told, all_told = (sum(bool(line.strip()) for line in some) for some in (kept, lines))
    code = "".join(kept)
    like_code = sum(
        bool(line.strip()) and (line[0] in " \t" or bool(_CODE_LINE.fullmatch(line.rstrip("\n")))) for line in kept
    )
    most = 2 * told > all_told
    return code if most and (_does_something(code) or (_tree(code) is None and like_code > 0.8 * told)) else ""


def _does_something(code: str) -> bool:
    """Whether a text is a program with a statement that does something: `Yes` is a program too."""
    tree = _tree(code)
    return tree is not None and any(
        not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call | ast.Await) for node in tree.body
    )


def _tree(code: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _missing(code: str) -> set[str]:
    """The names that a program reads and does not define."""
    tree = _tree(code)
    if tree is None:
        return set()
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return read - _defined(code) - set(dir(builtins))


def _defined(code: str) -> set[str]:
    found = set[str]()
    for node in ast.walk(_tree(code) or ast.Module([], [])):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=str() as name):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add(other or name.partition(".")[0])
    return found


def _starts(code: str) -> list[int]:
    """Where the statements at the margin start: offsets of lines outside of strings and brackets."""
    within, plain = set[int](), code
    for found in _STRING.finditer(code):
        within.update(found.start() + newline.end() for newline in re.finditer("\n", found[0]))
    plain = _STRING.sub(lambda found: re.sub(r"[^\n]", "#" if found[0].startswith("#") else "x", found[0]), code)
    starts, depth, place = [], 0, 0
    for line in _lines(plain):
        goes_on = depth > 0 or place in within or code.endswith("\\\n", 0, place) or _GOES_ON.match(line)
        if not goes_on and not line[0].isspace():
            starts.append(place)
        brackets = line.partition("#")[0]
        depth = max(0, depth + sum(map(brackets.count, "([{")) - sum(map(brackets.count, ")]}")))
        place += len(line)
    return starts


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)
