"""What the sandbox changes in a program's text, compared with CPython's own parser."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "stages" / "evaluation" / "interpreter" / "source.mjs"
READ = "const chunks = []; for await (const c of process.stdin) chunks.push(c);"
SCRIPT = (
    f"import {{ prepare }} from {json.dumps(SOURCE.as_uri())}; {READ}"
    "console.log(JSON.stringify(JSON.parse(Buffer.concat(chunks)).map(prepare)));"
)
CORPUS = sorted((ROOT / "corpus" / "code").glob("*.py"))

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node"),
    pytest.mark.filterwarnings("ignore:invalid escape sequence", "ignore::SyntaxWarning"),
]


def prepared(texts: list[str]) -> list[str]:
    command = ["node", "--input-type=module", "-e", SCRIPT]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True, timeout=60)
    found: list[str] = json.loads(done.stdout)
    return found


class _Ticking(ast.NodeTransformer):
    def visit_While(self, node: ast.While) -> ast.While:
        self.generic_visit(node)
        call = ast.Call(ast.Name("__tick__", ast.Load()), [], [])
        node.test = ast.BoolOp(ast.And(), [call, node.test])
        return node


def expected(text: str) -> str:
    tree = _Ticking().visit(ast.parse(text))
    for node in ast.walk(tree):
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        for place, decorator in enumerate(decorators):
            if ast.unparse(decorator) in ("micropython.native", "micropython.viper", "micropython.bytecode"):
                decorators[place] = ast.Name("__same__", ast.Load())
    return ast.dump(tree)


def agrees(text: str, changed: str) -> None:
    assert ast.dump(ast.parse(changed)) == expected(text)
    assert changed.count("\n") == text.count("\n")


@pytest.mark.skipif(not CORPUS, reason="no corpus here")
def test_loops_of_the_corpus_are_all_found_and_nothing_else_changes() -> None:
    texts = [path.read_text(encoding="utf-8") for path in CORPUS]
    for text, changed in zip(texts, prepared(texts), strict=True):
        agrees(text, changed)


TRICKY = [
    "while (x := f()) and {1: 2}[1]: pass\n",
    "while x := f(): pass\n",
    "while a[1:2] or (lambda: 1)(): pass\n",
    "while lambda a, b=lambda: 0: a: pass\n",
    "while x \\\n  and y:\n    'while z:'\n",
    "while (\n    x  # while y:\n):\n    pass\n",
    "s = '''\nwhile x:\n'''\nwhile s != \"while '\": s = r'\\\\'\n",
    "meanwhile = {'while': 1}\nwhile_x = 2\nx = [1 for while_y in (2,)]\n",
    "if x:\n\twhile(y):\n\t\tbreak\n\telse: pass\n",
    "while not f'{x!r:>{w}}' == \"\":pass\n",
    "@micropython.native\ndef f(): pass\n@micropython.viper\ndef g(x: int) -> int:\n  while x: x -= 1\n",
    "x = 'é'; y = \"ü while\"\nwhile 'ä' in x: pass\n",
    "while 1: pass",
]


def test_tricky_conditions() -> None:
    for text, changed in zip(TRICKY, prepared(TRICKY), strict=True):
        agrees(text, changed)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(alphabet=list("while x:()[]'\"\\\n#@\t=lambda"), max_size=60), min_size=120, max_size=120))
def test_text_that_is_no_program_is_survived(texts: list[str]) -> None:
    for text, changed in zip(texts, prepared(texts), strict=True):
        try:
            wanted = expected(text)
        except (SyntaxError, ValueError):
            continue
        assert ast.dump(ast.parse(changed)) == wanted
