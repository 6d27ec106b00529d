"""A template with what it was given: the frame that everything in it is evaluated in."""

from __future__ import annotations

from collections.abc import Mapping

from sorairo.templates.errors import ExpressionError
from sorairo.templates.evaluate import property_loops, resolve, run_loop
from sorairo.templates.frame import Document, Frame, Place
from sorairo.templates.parameters import secure
from sorairo.templates.template import Template
from sorairo.templates.values import Value, find


class LazyVariables:
    """Each is evaluated when first asked for. Raises ExpressionError for one that is not there or needs itself."""

    def __init__(self, section: Document) -> None:
        self._section = {k.lower(): v for k, v in section.items() if k.lower() != "copy"}
        self._loops = {}
        for loop in property_loops(section) or ():
            self._loops[str(loop["name"]).lower()] = loop
        self._values: dict[str, Value] = {}
        self._busy: list[str] = []

    def value(self, name: str, frame: Frame) -> Value:
        key = name.lower()
        if key in self._values:
            return self._values[key]
        if key not in self._section and key not in self._loops:
            raise ExpressionError(
                f"The template variable '{name}' is not found. Please see https://aka.ms/arm-syntax-variables for "
                "usage details."
            )
        if key in self._busy:
            raise ExpressionError(f"Circular reference among the template variables: '{', '.join(self._busy)}'.")
        self._busy.append(key)
        try:
            outside = frame.outside()
            loop = self._loops.get(key)
            value = resolve(self._section[key], outside) if loop is None else find(run_loop(loop, outside), name)
        finally:
            self._busy.pop()
        self._values[key] = value
        return value


def frame_for(template: Template, place: Place, parameters: Mapping[str, Value]) -> Frame:
    """`parameters`: values by lower-case name, as `parameters.bind` gives them."""
    return Frame(
        place,
        parameters,
        LazyVariables(template.variables),
        template.functions,
        template=template.document,
        secrets=secure(template),
    )
