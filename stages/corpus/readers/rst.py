"""reStructuredText as Markdown: docutils parses it, a few rules here say what Sphinx's directives and roles mean."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from stages.corpus.readers.html import NOTHING, fragment_markdown
from stages.corpus.readers.part import Part, Unreadable, decoded, names

API = names(
    "attribute class classmethod cmdoption data decorator decoratormethod describe enum enumerator envvar exception"
    " function macro member method module object option program property staticmethod struct type var"
)
CODE = names("code code-block highlight-block ipython jupyter-execute sourcecode testcode testoutput testsetup")
NOTICES = {
    "deprecated": "Deprecated since",
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "versionremoved": "Removed in version",
}
SILENT = names(
    "acks autosummary bibliography codeauthor contents currentmodule default-domain digraph graph graphviz highlight"
    " image include index inheritance-diagram literalinclude meta mermaid moduleauthor plantuml py-module raw"
    " sectionauthor sectnum tabularcolumns testcleanup title toctree todo todolist uml video youtube"
)
TITLED = names("admonition card centered details dropdown grid-item hlist rubric tab tab-item topic")
CONDITIONS = names("class container cssclass grid ifconfig only rst-class tab-set tabs")
CODE_ROLES = names(
    "attr c class cmacro command const cpp data enum enumerator envvar exc expr file func identifier kbd keyword macro"
    " makevar member meth mod obj option program regexp samp struct token type var"
)
_DIRECTIVE = re.compile(r"\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([A-Za-z][\w:.+-]*?)[ \t]*::(?:\s|$)", re.MULTILINE)
_ROLE = re.compile(r":([A-Za-z][\w:.+-]*):`|`:([A-Za-z][\w:.+-]*):")
_PAGE_FIELDS = re.compile(r"\A(?:\s*:(?:orphan|nosearch|tocdepth|nocomments|template)\b[^\n]*\n)+", re.IGNORECASE)
_TITLE_AND_TARGET = re.compile(r"(.+?)\s*<([^<>]+)>", re.DOTALL)
_NAME = re.compile(r"[\w.]+(?:\(.*\))?")
_HIGHLIGHT = re.compile(r"^\.\.[ \t]+highlight::[ \t]*(\S+)", re.MULTILINE)
_SETTINGS = {
    "_disable_config": True,
    "doctitle_xform": False,
    "embed_stylesheet": False,
    "file_insertion_enabled": False,
    "halt_level": 6,
    "line_length_limit": 10_000_000,
    "math_output": "LaTeX",
    "raw_enabled": False,
    "report_level": 5,
    "smart_quotes": False,
    "stylesheet_path": None,
    "syntax_highlight": "none",
}


def read_rst(data: bytes) -> Iterator[Part]:
    """A page as Markdown: prose, literal blocks with their exact text, tables, and Sphinx's API entries as signatures.

    What only a build could fill in (includes, generated documentation) and comments are left out. Raises Unreadable.
    """
    yield Part(rst_markdown(decoded(data)), "docs")


def rst_markdown(text: str, level: int = 1) -> str:
    """The Markdown of reStructuredText, its titles from `level` on; raises Unreadable where docutils cannot read it."""
    from docutils.core import publish_parts

    _register(text)
    source = _PAGE_FIELDS.sub("", text) + _missing_substitutions(text)
    settings = {**_SETTINGS, "highlight_language": _default_language(text), "initial_header_level": level}
    settings["warning_stream"] = io.StringIO()
    try:
        html = publish_parts(source, writer=_writer(), settings_overrides=settings)["body"]
    except RecursionError:
        raise Unreadable("nesting: it is nested too deeply") from None
    except (AttributeError, ValueError, TypeError, LookupError, AssertionError, NotImplementedError) as error:
        raise Unreadable(f"rst: docutils fails: {type(error).__name__}: {error}") from None
    return fragment_markdown(html)


def _missing_substitutions(text: str) -> str:
    """Definitions, of nothing, for the substitutions that only the configuration of a Sphinx project defines."""
    defined = {match[1].lower() for match in re.finditer(r"\.\.[ \t]+\|([^|\n]+)\|", text)}
    used = {match[1] for match in re.finditer(r"(?<!\.\. )\|([A-Za-z][\w .-]*)\|", text)}
    missing = sorted({name.lower(): name for name in sorted(used) if name.lower() not in defined}.values())
    return "\n\n" + "".join(f".. |{name}| replace:: {NOTHING}\n" for name in missing) if missing else ""


def _default_language(text: str) -> str:
    found = _HIGHLIGHT.search(text)
    return found[1] if found else ""


def _writer() -> Any:
    from docutils.writers.html5_polyglot import Writer

    writer = Writer()
    writer.translator_class = _translator()
    return writer


@cache
def _translator() -> Any:
    from docutils.nodes import attribution
    from docutils.writers.html5_polyglot import HTMLTranslator

    class Translator(HTMLTranslator):
        def visit_literal_block(self, node: Any) -> None:
            language = self.settings.highlight_language
            if node["classes"] == [] and language and node.rawsource == node.astext():
                node["classes"] = ["code", language]
            super().visit_literal_block(node)

        def visit_title_reference(self, node: Any) -> None:
            self.body.append("<code>" if _NAME.fullmatch(node.astext()) else "<span>")

        def depart_title_reference(self, node: Any) -> None:
            self.body.append("</code>" if _NAME.fullmatch(node.astext()) else "</span>")

        def visit_block_quote(self, node: Any) -> None:
            """Most indented text is none: only that with an attribution is quoted."""
            self.body.append("<blockquote>" if node.next_node(attribution) else "<div>")

        def depart_block_quote(self, node: Any) -> None:
            self.body.append("</blockquote>" if node.next_node(attribution) else "</div>")

        def visit_doctest_block(self, node: Any) -> None:
            node["classes"] = ["code", "pycon"]
            super().visit_literal_block(node)

        def depart_doctest_block(self, node: Any) -> None:
            super().depart_literal_block(node)

    return Translator


def _register(text: str) -> None:
    """Give every directive and role of the text that docutils does not know, or knows otherwise, a meaning."""
    from docutils.parsers.rst import directives, roles

    known, wanted = _known()
    for name in {match[1].lower() for match in _DIRECTIVE.finditer(text)}:
        if name in wanted or name not in known:
            directives.register_directive(name, _directive())
    for first, second in {match.groups() for match in _ROLE.finditer(text)}:
        name = (first or second).lower()
        if name not in _known_roles():
            roles.register_local_role(name, _role)


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """The directives that docutils knows in English, and those of them that are read otherwise here."""
    from docutils.parsers.rst.languages import en

    return frozenset(en.directives), CODE | SILENT | {"class", "container"}


@cache
def _known_roles() -> frozenset[str]:
    from docutils.parsers.rst.languages import en

    return frozenset(en.roles) - {"code"}


def _role(name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()) -> Any:
    """A role of Sphinx: names of code as literals, references by their title."""
    from docutils import nodes, utils

    role = name.lower().split(":")[-1]
    shown = utils.unescape(text).strip()
    titled = _TITLE_AND_TARGET.fullmatch(shown)
    if role == "index":
        return [nodes.Text(titled[1] if titled else "")], []
    if titled:
        shown = titled[1]
    elif shown.startswith("~"):
        shown = shown[1:].rsplit(".", 1)[-1]
    shown = shown.removeprefix("!").removeprefix("~")
    if role in ("func", "meth") and not shown.endswith(")"):
        shown += "()"
    if role in ("ref", "doc", "numref", "term", "any") and not titled:
        shown = shown.rsplit("/", 1)[-1]
    node = nodes.literal(rawtext, shown) if role in CODE_ROLES or role == "code" else nodes.Text(shown)
    return [node], []


@cache
def _directive() -> Any:
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from docutils.statemachine import StringList

    class SphinxDirective(Directive):
        """Any directive: its options are told from its content here, as they differ by directive."""

        has_content = True
        optional_arguments = 1
        final_argument_whitespace = True

        def run(self) -> list[Any]:
            domain, _, name = self.name.lower().rpartition(":")
            lines = self.arguments[0].split("\n") if self.arguments else []
            if name.startswith("auto"):
                return self.parsed(self.content)
            if name in API:
                return self.entry(name, domain, lines)
            if name in SILENT:
                return []
            titled = self.block_text.split("\n", 1)[0].partition("::")[2].strip()
            head = lines.pop(0).strip() if titled else ""
            while lines and _is_option(lines[0]):
                lines.pop(0)
            content = StringList([*lines, "", *self.content]) if lines else self.content
            beginning = [head] if lines else [head, ""]  # text on the line itself may go on below it
            if name in CODE:
                return self.code(head, name, content)
            if name in NOTICES:
                version, _, text = head.partition(" ")
                return self.notice(f"{NOTICES[name]} {version}", StringList([text, *content]) if text else content)
            if name == "productionlist":
                return [nodes.literal_block("", "\n".join(filter(None, [head, *content])))]
            if name in ("seealso", "versionnote"):
                return self.notice("See also", StringList([*beginning, *content]) if head else content)
            title = [nodes.paragraph("", "", nodes.strong("", head))] if head and name in TITLED else []
            is_text = " " in head and not title and name not in CONDITIONS
            return title + self.parsed(StringList([*beginning, *content]) if is_text else content)

        def code(self, language: str, name: str, content: StringList) -> list[Any]:
            lines = list(content)
            while lines and (not lines[0].strip() or _is_option(lines[0])):
                lines.pop(0)
            text = "\n".join(lines).rstrip()
            if not text:
                return []
            language = language if name in ("code", "code-block", "sourcecode", "highlight-block") else "python"
            return [nodes.literal_block(text, text, classes=["code", *([language] if language else [])])]

        def entry(self, name: str, domain: str, lines: list[str]) -> list[Any]:
            joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
            signatures = [line.strip() for line in joined.split("\n") if line.strip() and not _is_option(line)]
            if name == "module":
                return self.parsed(self.content)
            shown = [f"{name} {line}" if name in ("class", "exception") and domain in ("", "py") else line
                     for line in signatures]  # fmt: skip
            language = {"": "python", "py": "python", "cpp": "cpp"}.get(domain, domain)
            text = "\n".join(re.sub(r"\\(.)", r"\1", line) for line in shown)
            block = nodes.literal_block(text, text, classes=["code", language])
            inside = self.parsed(self.content)
            return [block, *inside] if text else inside

        def notice(self, title: str, content: StringList) -> list[Any]:
            inner = self.parsed(content)
            start = nodes.emphasis("", f"{title.strip()}:")
            if inner and isinstance(inner[0], nodes.paragraph):
                inner[0].insert(0, start)
                inner[0].insert(1, nodes.Text(" "))
                return inner
            return [nodes.paragraph("", "", start), *inner]

        def parsed(self, content: StringList) -> list[Any]:
            """What the content says; titles in it start a ranking of their own."""
            memo, node = self.state.memo, nodes.Element()
            kept = memo.title_styles, memo.section_level
            memo.title_styles, memo.section_level = [], 0
            try:
                self.state.nested_parse(content, self.content_offset, node, match_titles=True)
            finally:
                memo.title_styles, memo.section_level = kept
            return list(node.children)

    return SphinxDirective


def _is_option(line: str) -> bool:
    return re.match(r"\s*:[\w-]+:(?:\s|$)", line) is not None
