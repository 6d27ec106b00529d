"""Packet filter tables, changed by one transaction at a time.

Rulesets are kept in nft's own language: it is what `nft list` shows, what its manual explains, and a third the size of
its JSON. Whatever goes into one is an address, a number or a checked name, never a user's text.

A ruleset is made of pieces. Each is written whole, and in the same transaction leaves its digest in a set of digests:
so whether it stands as asked is read from the kernel, by one short list, and what has not changed is not touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sorairo.drivers.linux import netlink, programs
from sorairo.drivers.protocols import DriverError

TABLE = "sorairo"
_STANDING = "standing"
"""Set of digests (in the guise of IPv6 addresses, the longest key there is), each with its piece's name."""

_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Filled:
    """A set or map without intervals, and all that is in it."""

    kind: Literal["set", "map"]
    name: str
    typed: str
    elements: tuple[str, ...]

    @property
    def text(self) -> str:
        return collection(self.kind, self.name, self.typed, self.elements)

    def since(self, before: Filled) -> str:
        """Text that makes it this of what it was."""
        path = f"ip {TABLE} {self.name}"
        gone, come = _without(before.elements, self.elements), _without(self.elements, before.elements)
        return (f"delete element {path} {{ {', '.join(gone)} }}\n" if gone else "") + (
            f"add element {path} {{ {', '.join(come)} }}\n" if come else ""
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """`text` makes the piece what it should be, from nothing and from any earlier version of itself.

    `chain`: it makes one chain of its own name, which is deleted when the piece is no longer wanted. So is the set that
    a piece whose name begins with `@` makes. Pieces of other kinds are never given up.
    """

    name: str
    text: str
    chain: bool = False
    change: tuple[str, str] | None = None
    """An earlier version's digest, and what makes of that one, where it stands, this one: shorter than `text`."""
    filled: tuple[Filled, ...] = ()
    """What `text` fills, where it does nothing else: then what this process has written before is changed in place."""

    @property
    def digest(self) -> str:
        return _digest(self.chain, self.name, self.text)


@lru_cache(maxsize=4096)
def _digest(chain: bool, name: str, text: str) -> str:
    kind = b"chain" if chain else b"other"
    raw = hashlib.sha256(b"\0".join((kind, name.encode(), text.encode()))).digest()
    return str(ipaddress.IPv6Address(raw[:16]))


def chain(name: str, *rules: str, hook: str = "", table: str = TABLE) -> str:
    """Text of a chain with just these rules (empty ones left out). `hook` as in nft's chain block."""
    path = f"ip {table} {name}"
    lines = [f"add chain {path} {{ {hook} }}" if hook else f"add chain {path}", f"flush chain {path}"]
    return "".join(f"{line}\n" for line in [*lines, *(f"add rule {path} {rule}" for rule in rules if rule)])


def collection(kind: str, name: str, typed: str, elements: Sequence[str] | None = None, *, table: str = TABLE) -> str:
    """Text of a set or map. `elements` replace what is in it; None leaves that alone."""
    path = f"ip {table} {name}"
    text = f"add {kind} {path} {{ {typed} }}\n"
    if elements is not None:
        text += f"flush {kind} {path}\n"
        text += f"add element {path} {{ {', '.join(elements)} }}\n" if elements else ""
    return text


_written: dict[str, Piece] = {}
"""By digest: pieces of sets and maps that this process wrote lately."""


def filled(name: str, *parts: Filled) -> Piece:
    """A piece of sets and maps alone: of hundreds of elements, one changes at a time."""
    return Piece(name, "".join(part.text for part in parts), filled=parts)


def _without(these: Sequence[str], those: Sequence[str]) -> list[str]:
    other = {*those}
    return [each for each in these if each not in other]


def sync(pieces: Sequence[Piece], now: Mapping[str, str] | None = None, *, table: str = TABLE) -> None:
    """Bring the table of the namespace the thread is in in line, in one transaction, or none if it is. Without pieces
    the whole table goes.

    `now`: what is known to stand, if it is. A piece comes after those whose sets and chains it mentions. Raises
    DriverError with nft's own words.
    """
    now = standing(table) if now is None else now
    changed = [piece for piece in pieces if now.get(piece.name) != piece.digest]
    stale = sorted(now.keys() - {piece.name for piece in pieces})
    if not changed and not stale:
        return
    if not pieces:
        apply(f"delete table ip {table}\n")
        return
    gone = [now[name] for name in (*stale, *(piece.name for piece in changed)) if name in now]
    come = [f'{piece.digest} comment "{piece.name}"' for piece in changed]
    chains, sets = [n for n in stale if n[0] != "@"], [n[1:] for n in stale if n[0] == "@"]

    def text(each: Callable[[Piece], str]) -> str:
        return (
            f"add table ip {table}\nadd set ip {table} {_STANDING} {{ type ipv6_addr; }}\n"
            + (f"delete element ip {table} {_STANDING} {{ {', '.join(gone)} }}\n" if gone else "")
            + (f"add element ip {table} {_STANDING} {{ {', '.join(come)} }}\n" if come else "")
            + "".join(map(each, changed))
            + "".join(f"flush chain ip {table} {name}\n" for name in chains)
            + "".join(f"delete chain ip {table} {name}\n" for name in chains)
            + "".join(f"delete set ip {table} {name}\n" for name in sets)
        )

    try:
        apply(text(lambda piece: _change(piece, now)))
    except DriverError:
        if not any(_before(piece, now) for piece in changed):
            raise
        apply(text(lambda piece: piece.text))  # Somebody else has been at it: it is not what was written.
    for piece in changed:
        if piece.filled:
            _written[piece.digest] = piece
            while len(_written) > _REMEMBERED:
                with contextlib.suppress(KeyError, StopIteration):
                    del _written[next(iter(_written))]


def _change(piece: Piece, now: Mapping[str, str]) -> str:
    if piece.change is not None and now.get(piece.name) == piece.change[0]:
        return piece.change[1]
    if before := _before(piece, now):
        return "".join(new.since(old) for new, old in zip(piece.filled, before.filled, strict=True))
    return piece.text


def _before(piece: Piece, now: Mapping[str, str]) -> Piece | None:
    """The version of it that stands, if it is known."""
    return _written.get(now.get(piece.name, "")) if piece.filled else None


def apply(text: str) -> None:
    """Run a ruleset as one transaction in the namespace the thread is in: all of it or none."""
    ran = programs.run(["nft", "-f", "-"], text)
    if ran.returncode:
        raise DriverError(f"nft: {ran.stderr.strip()}")


def standing(table: str = TABLE) -> dict[str, str]:
    """Name and digest of every piece that stands in the namespace the thread is in; none when it has no table."""
    return {name: str(ipaddress.IPv6Address(key)) for key, name in netlink.set_elements(table, _STANDING)}
