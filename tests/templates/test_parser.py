"""The expression language's syntax: what is read, and that nothing else does harm."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorairo.templates.errors import ExpressionError, Needed
from sorairo.templates.evaluate import resolve
from sorairo.templates.functions import FUNCTIONS
from sorairo.templates.parser import Call, Literal, Member, is_expression, parse
from templates.language import frame


def test_a_tree() -> None:
    assert parse("[concat('a', f(1).b[0])]") == Call(
        "concat", (Literal("a"), Member(Member(Call("f", (Literal(1),)), Literal("b")), Literal(0)))
    )
    assert parse("[\n  __bicep.ns.f ( -3 , 'it''s' ) ]") == Call("__bicep.ns.f", (Literal(-3), Literal("it's")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[a]", True), ("[[a]", False), ("[a", False), ("a]", False), ("[]", True), ("[", False), ("", False)],
)
def test_which_texts_are_expressions(text: str, expected: bool) -> None:
    assert is_expression(text) is expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[]", "expected token 'Identifier' and actual 'EndOfData'"),
        ("[concat('a']", "expected token 'Comma' and actual 'EndOfData'"),
        ("[concat]", "expected token 'LeftParenthesis' and actual 'EndOfData'"),
        ("[concat('a') 'b']", "expected token 'EndOfData' and actual 'String'"),
        ("[concat('a)]", "is not valid"),
        ("[1.5]", "is not valid"),
        ("[f(99999999999999999999999)]", "64 bits"),
        ("[" + "f(" * 200 + ")" * 200 + "]", "nested too deeply"),
        ("[f()" + ".a" * 200 + "]", "too many members"),
        ("[f('" + "a" * 30_000 + "')]", "length limit exceeded"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, part: str) -> None:
    with pytest.raises(ExpressionError, match=part):
        parse(text)


_NAMES = st.sampled_from([*FUNCTIONS, "nothing", "listKeys", "a.b", "lambda"])
_LITERALS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1).map(str),
    st.text(max_size=8).map(lambda s: "'" + s.replace("'", "''") + "'"),
    st.sampled_from(["createArray(1, 'b')", "createObject('k', 1)", "null()", "true()"]),
)
_EXPRESSIONS = st.recursive(
    _LITERALS,
    lambda inner: st.one_of(
        st.builds(lambda n, a: f"{n}({', '.join(a)})", _NAMES, st.lists(inner, max_size=4)),
        st.builds(lambda of, name: f"{of}.{name}", inner, st.sampled_from(["k", "x"])),
        st.builds(lambda of, at: f"{of}[{at}]", inner, inner),
    ),
    max_leaves=12,
)


@given(_EXPRESSIONS)
def test_any_expression_has_a_value_or_a_reason(expression: str) -> None:
    """No function fails other than by saying why, whatever it is given."""
    with contextlib.suppress(ExpressionError, Needed):
        resolve(f"[{expression}]", frame())


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        parse(f"[{text}]")


@given(st.text(alphabet="[]().,'ab1 -_$\n", max_size=60))
def test_texts_of_the_languages_own_letters(text: str) -> None:
    with contextlib.suppress(ExpressionError, Needed):
        resolve(f"[{text}]", frame())
