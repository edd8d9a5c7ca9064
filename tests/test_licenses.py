"""SPDX expressions are read as their specification says, and judged as logic does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.rules.licenses import PERMISSIVE, InvalidExpression, allowed, check

NAMES = ("MIT", "GPL-3.0-only", "Apache-2.0", "LicenseRef-mine")


@pytest.mark.parametrize(
    ("expression", "allow", "verdict"),
    [
        ("MIT", ("MIT",), True),
        ("mit", ("MIT",), True),
        ("GPL-3.0-only", ("MIT",), False),
        ("MIT OR GPL-2.0-only", ("MIT",), True),
        ("MIT AND GPL-2.0-only", ("MIT",), False),
        ("GPL-2.0-only OR MIT AND Apache-2.0", ("MIT", "Apache-2.0"), True),
        ("(GPL-2.0-only OR MIT) AND Apache-2.0", ("MIT",), False),
        ("Apache-2.0 WITH LLVM-exception", ("Apache-2.0",), True),
        ("GPL-2.0-or-later WITH GCC-exception-2.0 OR MIT", ("MIT",), True),
        ("Apache-1.1+", ("Apache-1.1",), True),
        ("LicenseRef-my-notes", ("LicenseRef-*",), True),
        ("DocumentRef-a:LicenseRef-b", ("LicenseRef-*",), False),
        ("MIT", (), False),
    ],
)
def test_an_expression_is_judged_by_the_list(expression: str, allow: tuple[str, ...], verdict: bool) -> None:
    assert allowed(expression, allow) is verdict


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "missing at the end"),
        ("MIT OR", "missing at the end"),
        ("MIT AND OR MIT", "`OR` stands where a licence should"),
        ("MIT Apache-2.0", "`Apache-2.0` is not expected there"),
        ("(MIT", r"a `\)` is missing"),
        ("MIT)", r"`\)` is not expected there"),
        ("MIT/Apache-2.0", "`/` cannot stand in a licence"),
        ("MIT WITH", "an exception is missing"),
        ("see LICENSE!", "`!` cannot stand"),
    ],
)
def test_what_is_no_expression_is_said(expression: str, told: str) -> None:
    with pytest.raises(InvalidExpression, match=told):
        check(expression)


def expressions(depth: int = 3) -> st.SearchStrategy[tuple[str, str]]:
    """An SPDX expression, and the same in Python with `ok(name)` for each licence."""
    single = st.sampled_from(NAMES).map(lambda name: (name, f"ok({name!r})"))
    if depth == 0:
        return single
    part = expressions(depth - 1)
    joined = st.tuples(part, st.sampled_from(["AND", "OR"]), part).map(
        lambda three: (f"{three[0][0]} {three[1]} {three[2][0]}", f"{three[0][1]} {three[1].lower()} {three[2][1]}")
    )
    grouped = part.map(lambda two: (f"({two[0]})", f"({two[1]})"))
    return single | joined | grouped


@given(expressions(), st.sets(st.sampled_from(NAMES)))
def test_and_binds_closer_than_or_as_in_python(pair: tuple[str, str], allow: set[str]) -> None:
    spdx, python = pair
    assert allowed(spdx, tuple(allow)) is eval(python, {"ok": allow.__contains__})


def test_the_default_list_has_the_usual_permissive_and_no_copyleft_licence() -> None:
    assert all(allowed(name, PERMISSIVE) for name in ("MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "LicenseRef-mine"))
    closed = ("GPL-3.0-only", "AGPL-3.0-or-later", "CC-BY-NC-4.0", "CC-BY-SA-4.0", "MPL-2.0", "Proprietary")
    assert not any(allowed(name, PERMISSIVE) for name in closed)
