"""What a function of the template language is, and how it reads its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sorairo.templates.errors import ExpressionError
from sorairo.templates.frame import Frame, Lambda
from sorairo.templates.values import Value, type_name


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call. Arguments are read by position, and held to a type as they are."""

    name: str
    frame: Frame
    arguments: tuple[Value, ...]
    """Evaluated; empty for a lazy function."""
    value: Callable[[int], Value]
    """One argument; evaluated when asked for, if the function is lazy."""
    count: int

    def has(self, at: int) -> bool:
        return at < self.count and self.value(at) is not None

    def text(self, at: int, default: str | None = None) -> str:
        return self._typed(at, "String", str, default)  # type: ignore[no-any-return]

    def integer(self, at: int, default: int | None = None) -> int:
        found = self.value(at) if at < self.count else None
        if isinstance(found, float) and found.is_integer():  # JSON's 1.0
            return int(found)
        return self._typed(at, "Integer", int, default)  # type: ignore[no-any-return]

    def boolean(self, at: int) -> bool:
        return self._typed(at, "Boolean", bool, None)  # type: ignore[no-any-return]

    def array(self, at: int) -> list[Value]:
        return self._typed(at, "Array", list, None)  # type: ignore[no-any-return]

    def object(self, at: int) -> dict[str, Value]:
        return self._typed(at, "Object", dict, None)  # type: ignore[no-any-return]

    def function(self, at: int) -> Lambda:
        return self._typed(at, "Lambda", Lambda, None)  # type: ignore[no-any-return]

    def _typed(self, at: int, wanted: str, kind: type, default: Value) -> Value:
        if at >= self.count or (self.value(at) is None and default is not None):
            if default is not None:
                return default
            raise self.wrong(f"expects a parameter at position {at + 1}")
        found = self.value(at)
        if type(found) is not kind:
            raise self.wrong(
                f"expects its parameter at position {at + 1} to be of type '{wanted}'. "
                f"The provided value is of type '{type_name(found)}'"
            )
        return found

    def wrong(self, reason: str) -> ExpressionError:
        """`reason` follows the function's name."""
        return ExpressionError(
            f"The template language function '{self.name}' {reason}. "
            f"Please see https://aka.ms/arm-functions#{self.name.lower()} for usage details."
        )


@dataclass(frozen=True, slots=True)
class Function:
    least: int
    most: int | None
    lazy: bool
    run: Callable[[Invocation], Value]

    def check(self, name: str, count: int) -> None:
        if count < self.least or (self.most is not None and count > self.most):
            wanted = (
                f"{self.least}"
                if self.most == self.least
                else f"at least {self.least}"
                if self.most is None
                else f"{self.least} to {self.most}"
            )
            raise ExpressionError(
                f"Unable to evaluate template language function '{name}': function requires {wanted} argument(s) "
                f"while {count} were provided. Please see https://aka.ms/arm-functions#{name.lower()} for usage "
                "details."
            )


TABLE: dict[str, Function] = {}
"""By lower-case name. `functions/__init__` imports every module that fills it."""

MANY = None
"""As `most`: any number of arguments."""

Run = Callable[[Invocation], Value]


def function(*names: str, least: int = 0, most: int | None = 0, lazy: bool = False) -> Callable[[Run], Run]:
    """Register a function under its names. `lazy`: its arguments are evaluated only when it asks for them."""

    def register(run: Run) -> Run:
        for name in names:
            TABLE[name.lower()] = Function(least, most, lazy, run)
        return run

    return register
