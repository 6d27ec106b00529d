"""`uniqueString` and `guid`: names made of other names, the same here as on Azure, so that what a template is called
does not change with where it is deployed.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-string#uniquestring
"""

from __future__ import annotations

import uuid

from sorairo.templates.functions.registry import MANY, Invocation, function
from sorairo.templates.values import Value, text

GUIDS = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
"""Name space of `guid()`: https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions-string#guid"""
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_32 = 0xFFFFFFFF


def _left(x: int, by: int) -> int:
    return (x << by | x >> (32 - by)) & _32


def _mixed(h: int) -> int:
    h ^= h >> 16
    h = h * 0x85EBCA6B & _32
    h ^= h >> 13
    h = h * 0xC2B2AE35 & _32
    return h ^ h >> 16


def hash64(data: bytes) -> int:
    """Two lanes of MurmurHash3, 64 bits: the hash that Azure names and fingerprints templates with."""
    c1, c2 = 0x239B961B, 0xAB0E9789

    def one(k: int) -> int:
        return _left(k * c1 & _32, 15) * c2 & _32

    def two(k: int) -> int:
        return _left(k * c2 & _32, 17) * c1 & _32

    a = b = 0
    whole = len(data) // 8 * 8
    for at in range(0, whole, 8):
        a = (_left(a ^ one(int.from_bytes(data[at : at + 4], "little")), 19) + b) * 5 + 0x561CCD1B & _32
        b = (_left(b ^ two(int.from_bytes(data[at + 4 : at + 8], "little")), 13) + a) * 5 + 0x0BCAA747 & _32
    rest = data[whole:]
    if rest:
        a ^= one(int.from_bytes(rest[:4], "little"))
    if len(rest) > 4:
        b ^= two(int.from_bytes(rest[4:], "little"))
    a, b = a ^ len(data), b ^ len(data)
    a = a + b & _32
    b = b + a & _32
    a, b = _mixed(a), _mixed(b)
    a = a + b & _32
    b = b + a & _32
    return b << 32 | a


def unique_string(*values: str) -> str:
    """Thirteen characters of a to z and 2 to 7."""
    number = hash64("-".join(values).encode())
    return "".join(_LETTERS[number << 5 * n >> 59 & 31] for n in range(13))


@function("uniqueString", least=1, most=MANY)
def unique_string_(call: Invocation) -> Value:
    return unique_string(*(call.text(at) for at in range(call.count)))


@function("guid", least=1, most=MANY)
def guid(call: Invocation) -> Value:
    return str(uuid.uuid5(GUIDS, "-".join(text(a) for a in call.arguments)))


@function("newGuid")
def new_guid(call: Invocation) -> Value:
    if not call.frame.defaults:
        raise call.wrong("is allowed in the default value of a parameter only")
    return str(uuid.uuid4())
