"""base64, JSON and data URIs."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

import msgspec

from sorairo.templates.functions.registry import Invocation, function
from sorairo.templates.values import Value


def _decoded(call: Invocation, text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise call.wrong("expects a base64 text of UTF-8") from None


def _json(call: Invocation, text: str) -> Value:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise call.wrong("expects JSON") from None


@function("base64", least=1, most=1)
def base64_(call: Invocation) -> Value:
    return base64.b64encode(call.text(0).encode()).decode()


@function("base64ToString", least=1, most=1)
def base64_to_string(call: Invocation) -> Value:
    return _decoded(call, call.text(0))


@function("base64ToJson", least=1, most=1)
def base64_to_json(call: Invocation) -> Value:
    return _json(call, _decoded(call, call.text(0)))


@function("json", least=1, most=1)
def json(call: Invocation) -> Value:
    return _json(call, call.text(0))


@function("dataUri", least=1, most=1)
def data_uri(call: Invocation) -> Value:
    return f"data:text/plain;charset=utf8;base64,{base64.b64encode(call.text(0).encode()).decode()}"


@function("dataUriToString", least=1, most=1)
def data_uri_to_string(call: Invocation) -> Value:
    head, comma, data = call.text(0).partition(",")
    if not comma or not head.lower().startswith("data:"):
        raise call.wrong("expects a data URI")
    if head.lower().endswith(";base64"):
        return _decoded(call, data)
    try:
        return unquote_to_bytes(data).decode()
    except UnicodeDecodeError:
        raise call.wrong("expects a data URI of UTF-8 text") from None
