"""A query: a table, and what is done with its rows, one operator after the other.

Resources | where type =~ 'microsoft.network/virtualNetworks' | summarize count() by location | order by count_ desc
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from sorairo.kql import join
from sorairo.kql.expressions import Expressions, Words
from sorairo.kql.functions import AGGREGATES, Aggregate, Compiled
from sorairo.kql.values import Row, Value, key, order
from sorairo.kql.words import QueryError, Word, words

Rows = list[dict[str, Value]]
Operator = Callable[[Rows], Rows]

UNBUILT = frozenset(
    ("union", "lookup", "parse", "parse-where", "parse-kv", "mv-apply", "make-series", "render", "evaluate", "invoke",
     "facet", "fork", "sample", "sample-distinct", "scan", "search", "find", "serialize", "top-nested", "top-hitters",
     "partition", "reduce", "as", "consume", "externaldata", "getschema", "let")
)  # fmt: skip
"""Operators of the language that are told by name that they are not built."""
MOST_JOINS = 3
"""Of one query; Azure Resource Graph's limit."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[str, ...]
    rows: Callable[[], Rows]


@dataclass(frozen=True, slots=True)
class Query:
    columns: tuple[str, ...]
    """Of what it gives, in order."""
    run: Callable[[], Rows]


def compile_query(text: str, tables: Mapping[str, Table], default: str = "resources") -> Query:
    """`tables` by lower-case name; `default` is what a query that begins with an operator is about.

    Raises QueryError."""
    try:
        reader = _Reader(Words(words(text)), tables, default)
        query = reader.pipeline()
        reader.words.mark(";")
        if reader.words.next.kind != "end":
            raise reader.words.wrong("'|' or the end was expected")
    except RecursionError:
        raise QueryError("The query is nested too deeply.") from None
    return query


class _Reader:
    def __init__(self, words: Words, tables: Mapping[str, Table], default: str) -> None:
        self.words = words
        self._tables = tables
        self._default = default
        self._columns: list[str] = []
        self._joins = 0

    def pipeline(self) -> Query:
        operators: list[Operator] = []
        table = self._table()
        self._columns = list(table.columns)
        if self.words.next.kind == "name":  # no table: it begins with an operator
            operators.append(self._operator())
        while self.words.mark("|"):
            operators.append(self._operator())

        def run() -> Rows:
            rows = table.rows()
            for operator in operators:
                rows = operator(rows)
            return rows

        return Query(tuple(self._columns), run)

    def _table(self) -> Table:
        word = self.words.next
        if word.kind == "name":
            name = word.value.lower()
            if name in self._tables:
                self.words.take()
                return self._tables[name]
            if name in UNBUILT:
                raise _unbuilt(word)
            if name in _OPERATORS:
                return self._tables[self._default]
        if word.kind == "end":
            raise word.wrong("The query is empty.")
        raise word.wrong(
            f"'{word.value[:60]}' is no table. There are: {', '.join(sorted(self._tables))}.", code="InvalidQuery"
        )

    def _operator(self) -> Operator:
        word = self.words.any_name("an operator")
        name = word.value.lower()
        if name in UNBUILT:
            raise _unbuilt(word)
        found = _OPERATORS.get(name)
        if found is None:
            raise word.wrong(f"'{word.value}' is no operator.")
        return found(self)

    def _expression(self) -> Compiled:
        return Expressions(self.words, self._columns).any()

    # --- operators -----------------------------------------------------------------------------------

    def where(self) -> Operator:
        test = self._expression()
        return lambda rows: [r for r in rows if test(r) is True]

    def _named(self, default: str) -> list[tuple[str, Compiled]]:
        """`a, b = expression, …`; one without a name is called after the column or property it is of."""
        found: list[tuple[str, Compiled]] = []
        while True:
            word = self.words.next
            given = word.kind == "name" and self.words.ahead().kind == "mark" and self.words.ahead().value == "="
            if given:
                self.words.take()
                self.words.take()
            value = self._expression()
            # `properties.sku.name` without a name of its own is called `properties_sku_name`.
            name = word.value if given else "_".join(self.words.path_from(word)) or f"{default}{len(found) + 1}"
            found.append((name, value))
            if not self.words.mark(","):
                return found

    def project(self) -> Operator:
        wanted = self._named("Column")
        self._columns = list(dict.fromkeys(name for name, _ in wanted))
        return lambda rows: [{name: value(r) for name, value in wanted} for r in rows]

    def extend(self) -> Operator:
        more = self._named("Column")
        self._columns = list(dict.fromkeys([*self._columns, *(name for name, _ in more)]))
        return lambda rows: [{**r, **{name: value(r) for name, value in more}} for r in rows]

    def _names(self) -> list[str]:
        """Columns by name, `tag*` for all that begin so."""
        found: list[str] = []
        while True:
            word = self.words.any_name("a column")
            if self.words.mark("*"):
                found += [c for c in self._columns if c.startswith(word.value)]
            elif word.value not in self._columns:
                raise word.wrong(f"Failed to resolve column named '{word.value}'.", code="InvalidQuery")
            else:
                found.append(word.value)
            if not self.words.mark(","):
                return found

    def project_away(self) -> Operator:
        gone = set(self._names())
        return self._keep([c for c in self._columns if c not in gone])

    def project_keep(self) -> Operator:
        kept = set(self._names())
        return self._keep([c for c in self._columns if c in kept])

    def _keep(self, columns: list[str]) -> Operator:
        self._columns = columns
        return lambda rows: [{c: r.get(c) for c in columns} for r in rows]

    def project_rename(self) -> Operator:
        renamed: dict[str, str] = {}
        while True:
            new = self.words.any_name("a column").value
            self.words.expect("=")
            old = self.words.any_name("a column")
            if old.value not in self._columns:
                raise old.wrong(f"Failed to resolve column named '{old.value}'.", code="InvalidQuery")
            renamed[old.value] = new
            if not self.words.mark(","):
                break
        self._columns = [renamed.get(c, c) for c in self._columns]
        return lambda rows: [{renamed.get(c, c): v for c, v in r.items()} for r in rows]

    def distinct(self) -> Operator:
        if self.words.mark("*"):
            wanted: list[tuple[str, Compiled]] = [(c, _column(c)) for c in self._columns]
        else:
            wanted = self._named("Column")
        self._columns = list(dict.fromkeys(name for name, _ in wanted))

        def run(rows: Rows) -> Rows:
            found: dict[Any, dict[str, Value]] = {}
            for row in rows:
                made = {name: value(row) for name, value in wanted}
                found.setdefault(tuple(key(v) for v in made.values()), made)
            return list(found.values())

        return run

    def limit(self) -> Operator:
        count = self._count()
        return lambda rows: rows[:count]

    def _count(self) -> int:
        word = self.words.next
        if word.kind != "number" or not word.value.isdigit():
            raise self.words.wrong("a number of rows was expected")
        return int(self.words.take().value[:18])

    def order(self) -> Operator:
        self.words.expect("by")
        return self._sorted()

    def _sorted(self) -> Operator:
        keys: list[tuple[Compiled, int, bool]] = []
        while True:
            value = self._expression()
            up = self.words.name("asc") is not None
            if not up:
                self.words.name("desc")
            first = up  # nulls go first when it goes up, unless the query says otherwise
            if self.words.name("nulls"):
                first = self.words.name("first") is not None
                if not first:
                    self.words.expect("last")
            keys.append((value, 1 if up else -1, first))
            if not self.words.mark(","):
                break

        def compare(a: Row, b: Row) -> int:
            for value, sign, nulls_first in keys:
                x, y = value(a), value(b)
                if x is None or y is None:
                    if (x is None) != (y is None):
                        return -1 if (x is None) == nulls_first else 1
                    continue
                if found := order(x, y) or 0:
                    return found * sign
            return 0

        return lambda rows: sorted(rows, key=cmp_to_key(compare))

    def top(self) -> Operator:
        count = self._count()
        self.words.expect("by")
        ordered = self._sorted()
        return lambda rows: ordered(rows)[:count]

    def count(self) -> Operator:
        self._columns = ["Count"]
        return lambda rows: [{"Count": len(rows)}]

    def summarize(self) -> Operator:
        aggregates: list[tuple[str, Aggregate, list[Compiled]]] = []
        while not (self.words.next.kind == "name" and self.words.next.value.lower() == "by"):
            aggregates.append(self._aggregate())
            if not self.words.mark(","):
                break
        groups = self._named("Column") if self.words.name("by") else []
        self._columns = list(dict.fromkeys([*(n for n, _ in groups), *(n for n, _, _ in aggregates)]))

        def run(rows: Rows) -> Rows:
            found: dict[Any, tuple[dict[str, Value], list[Row]]] = {}
            for row in rows:
                by = {name: value(row) for name, value in groups}
                found.setdefault(tuple(key(v) for v in by.values()), (by, []))[1].append(row)
            if not groups and not found:
                found[()] = ({}, [])
            return [
                by | {name: aggregate(members, arguments) for name, aggregate, arguments in aggregates}
                for by, members in found.values()
            ]

        return run

    def _aggregate(self) -> tuple[str, Aggregate, list[Compiled]]:
        given = ""
        if self.words.ahead().kind == "mark" and self.words.ahead().value == "=":
            given = self.words.any_name("a column").value
            self.words.take()
        word = self.words.any_name("an aggregate such as count()")
        found = AGGREGATES.get(word.value.lower())
        if found is None:
            raise word.wrong(f"The aggregate '{word.value}' is not supported here.", code="UnsupportedFeature")
        self.words.expect("(")
        of, named = self.words.next, ""
        arguments: list[Compiled] = []
        while not self.words.mark(")"):
            if arguments:
                self.words.expect(",")
            arguments.append(self._expression())
            named = named or "_".join(self.words.path_from(of))
        run, least, most = found
        if not least <= len(arguments) <= most:
            raise word.wrong(f"{word.value}() does not take {len(arguments)} arguments.", code="InvalidQuery")
        return given or f"{word.value.lower()}_{named}", run, arguments

    def mv_expand(self) -> Operator:
        """A row for each element of an array; the others' columns again in each."""
        name, value = self._named("Column")[0]
        if self.words.name("to"):
            self.words.expect("typeof")
            self.words.expect("(")
            self.words.any_name("a type")
            self.words.expect(")")
        if self.words.name("limit"):
            self._count()
        self._columns = list(dict.fromkeys([*self._columns, name]))

        def run(rows: Rows) -> Rows:
            made: Rows = []
            for row in rows:
                found = value(row)
                items = [{k: v} for k, v in found.items()] if isinstance(found, dict) else found
                made += [{**row, name: item} for item in (items if isinstance(items, list) and items else [None])]
            return made

        return run

    def join(self) -> Operator:
        self._joins += 1
        if self._joins > MOST_JOINS:
            raise self.words.next.wrong(f"A query has at most {MOST_JOINS} joins.", code="InvalidQuery")
        kind = join.read_kind(self.words)
        left = self._columns
        self.words.expect("(")
        inner = _Reader(self.words, self._tables, self._default)
        other = inner.pipeline()
        self.words.expect(")")
        pairs = join.read_keys(self.words, left, other.columns)
        self._columns, names = join.columns(left, other.columns, kind)
        return lambda rows: join.joined(rows, other.run(), pairs, names, kind)


_OPERATORS: dict[str, Callable[[_Reader], Operator]] = {
    "where": _Reader.where,
    "filter": _Reader.where,
    "project": _Reader.project,
    "project-away": _Reader.project_away,
    "project-keep": _Reader.project_keep,
    "project-rename": _Reader.project_rename,
    "extend": _Reader.extend,
    "summarize": _Reader.summarize,
    "distinct": _Reader.distinct,
    "limit": _Reader.limit,
    "take": _Reader.limit,
    "order": _Reader.order,
    "sort": _Reader.order,
    "top": _Reader.top,
    "count": _Reader.count,
    "mv-expand": _Reader.mv_expand,
    "mvexpand": _Reader.mv_expand,
    "join": _Reader.join,
}


def _column(name: str) -> Compiled:
    return lambda row: row.get(name)


def _unbuilt(word: Word) -> QueryError:
    return word.wrong(f"sorairo does not implement the operator '{word.value}' yet.", code="UnsupportedFeature")
