"""Packet filter tables, changed by one transaction at a time.

Rulesets are kept in nft's own language: it is what `nft list` shows, what its manual explains, and a third the size of
its JSON. Whatever goes into one is an address, a number or a checked name, never a user's text.

A ruleset is made of pieces. Each is written whole, and in the same transaction leaves its digest in a set of digests:
so whether it stands as asked is read from the kernel, by one short list, and what has not changed is not touched.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sorairo.drivers.linux import netlink, programs
from sorairo.drivers.protocols import DriverError

TABLE = "sorairo"
_STANDING = "standing"
"""Set of digests (in the guise of IPv6 addresses, the longest key there is), each with its piece's name."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`text` makes the piece what it should be, from nothing and from any earlier version of itself.

    `chain`: it makes one chain of its own name, which is deleted when the piece is no longer wanted. Pieces of other
    kinds are never given up.
    """

    name: str
    text: str
    chain: bool = False

    @property
    def digest(self) -> str:
        return _digest(self.chain, self.name, self.text)


@lru_cache(maxsize=4096)
def _digest(chain: bool, name: str, text: str) -> str:
    kind = b"chain" if chain else b"other"
    raw = hashlib.sha256(b"\0".join((kind, name.encode(), text.encode()))).digest()
    return str(ipaddress.IPv6Address(raw[:16]))


def chain(name: str, *rules: str, hook: str = "") -> str:
    """Text of a chain with just these rules (empty ones left out). `hook` as in nft's chain block."""
    path = f"ip {TABLE} {name}"
    lines = [f"add chain {path} {{ {hook} }}" if hook else f"add chain {path}", f"flush chain {path}"]
    return "".join(f"{line}\n" for line in [*lines, *(f"add rule {path} {rule}" for rule in rules if rule)])


def collection(kind: str, name: str, typed: str, elements: Sequence[str] | None = None) -> str:
    """Text of a set or map. `elements` replace what is in it; None leaves that alone."""
    path = f"ip {TABLE} {name}"
    text = f"add {kind} {path} {{ {typed} }}\n"
    if elements is not None:
        text += f"flush {kind} {path}\n"
        text += f"add element {path} {{ {', '.join(elements)} }}\n" if elements else ""
    return text


def sync(pieces: Sequence[Piece], now: Mapping[str, str] | None = None) -> None:
    """Bring the table of the namespace the thread is in in line, in one transaction, or none if it is.

    `now`: what is known to stand, if it is. A piece comes after those whose sets and chains it mentions. Raises
    DriverError with nft's own words.
    """
    now = standing() if now is None else now
    changed = [piece for piece in pieces if now.get(piece.name) != piece.digest]
    stale = sorted(now.keys() - {piece.name for piece in pieces})
    if not changed and not stale:
        return
    gone = [now[name] for name in (*stale, *(piece.name for piece in changed)) if name in now]
    come = [f'{piece.digest} comment "{piece.name}"' for piece in changed]
    apply(
        f"add table ip {TABLE}\nadd set ip {TABLE} {_STANDING} {{ type ipv6_addr; }}\n"
        + (f"delete element ip {TABLE} {_STANDING} {{ {', '.join(gone)} }}\n" if gone else "")
        + (f"add element ip {TABLE} {_STANDING} {{ {', '.join(come)} }}\n" if come else "")
        + "".join(piece.text for piece in changed)
        + "".join(f"flush chain ip {TABLE} {name}\n" for name in stale)
        + "".join(f"delete chain ip {TABLE} {name}\n" for name in stale)
    )


def apply(text: str) -> None:
    """Run a ruleset as one transaction in the namespace the thread is in: all of it or none."""
    ran = programs.run(["nft", "-f", "-"], text)
    if ran.returncode:
        raise DriverError(f"nft: {ran.stderr.strip()}")


def standing() -> dict[str, str]:
    """Name and digest of every piece that stands in the namespace the thread is in; none when it has no table."""
    return {name: str(ipaddress.IPv6Address(key)) for key, name in netlink.set_elements(TABLE, _STANDING)}
