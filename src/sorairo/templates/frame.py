"""What an expression is evaluated in: where the deployment happens, what it was given, which loops are around."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from sorairo.templates.errors import ExpressionError, Needed
from sorairo.templates.values import Value

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a template is deployed, as it was when the deployment was asked for."""

    subscription: str
    """Id of the subscription, a GUID."""
    group: str = ""
    """Name of the resource group; '' for a deployment to a subscription."""
    subscription_document: Document = field(default_factory=dict)
    """What `subscription()` gives."""
    group_document: Document = field(default_factory=dict)
    """What `resourceGroup()` gives."""
    tenant: Document = field(default_factory=dict)
    environment: Document = field(default_factory=dict)
    """What `environment()` gives: the document of `/metadata/endpoints`."""
    deployment: Document = field(default_factory=dict)
    """What `deployment()` gives."""
    deployer: Document = field(default_factory=dict)
    """What `deployer()` gives: `objectId`, `tenantId`, `userPrincipalName`."""

    @property
    def scope(self) -> str:
        """The id of the group or subscription."""
        base = f"/subscriptions/{self.subscription}"
        return f"{base}/resourceGroups/{self.group}" if self.group else base


@dataclass(frozen=True, slots=True)
class Known:
    """A resource as `reference` and `list*` find it by its symbolic or its own name."""

    id: str
    api_version: str
    name: str
    condition: bool = True


class Names(Protocol):
    """The template's own resources."""

    def find(self, name: str) -> Known | None:
        """By symbolic name (`vm`, `vms[2]` in a loop), resource id, or name."""
        ...

    def all(self, symbol: str) -> list[Known] | None:
        """Of a loop, by its symbolic name."""
        ...


class Variables(Protocol):
    def value(self, name: str, frame: Frame) -> Value: ...


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A member of the template's `functions`."""

    name: str
    parameters: tuple[str, ...]
    body: Value


class Answers:
    """What was fetched so far. Asked for something else, it raises Needed."""

    def __init__(self, known: Mapping[str, Value] | None = None) -> None:
        self._known: dict[str, Value] = dict(known or {})

    def get(self, needed: Needed) -> Value:
        if needed.key in self._known:
            return self._known[needed.key]
        raise needed

    def put(self, needed: Needed, value: Value) -> None:
        self._known[needed.key] = value


@dataclass(frozen=True, slots=True)
class Lambda:
    """`lambda('x', body)`, as `map` and its like call it."""

    parameters: tuple[str, ...]
    run: Callable[[Mapping[str, Value]], Value]

    def __call__(self, *values: Value) -> Value:
        """Takes as many of the values as it has parameters: `map` offers an index that may be left out."""
        if len(self.parameters) > len(values):
            raise ExpressionError(f"A lambda with {len(values)} parameters or fewer was expected.")
        return self.run(dict(zip(self.parameters, values, strict=False)))


@dataclass(frozen=True, slots=True)
class Frame:
    place: Place
    parameters: Mapping[str, Value]
    """By lower-case name."""
    variables: Variables
    functions: Mapping[str, UserFunction] = field(default_factory=dict)
    """By lower-case name with its namespace."""
    names: Names | None = None
    answers: Answers = field(default_factory=Answers)
    loops: Mapping[str, int] = field(default_factory=dict)
    """Indices of the loops around, by lower-case name."""
    index: int | None = None
    """Of the loop that `copyIndex()` without a name means."""
    lambdas: Mapping[str, Value] = field(default_factory=dict)
    template: Document = field(default_factory=dict)
    """The whole template, as it was written."""
    secrets: frozenset[str] = frozenset()
    """Lower-case names of the parameters that are secure."""
    defaults: bool = False
    """A parameter's default is evaluated: `newGuid` and `utcNow` are allowed there only, since they are asked once."""

    def looped(self, name: str, index: int, *, unnamed: bool) -> Frame:
        """Inside one turn of a loop."""
        return replace(
            self,
            loops={**self.loops, name.lower(): index},
            index=index if unnamed or self.index is None else self.index,
        )

    def outside(self) -> Frame:
        """As variables and functions see it: no loops, no lambdas around."""
        return replace(self, loops={}, index=None, lambdas={})
