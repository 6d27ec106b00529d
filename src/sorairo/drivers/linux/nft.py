"""Packet filter tables, changed by one transaction at a time.

Rulesets are kept in nft's own language: it is what `nft list` shows, what its manual explains, and a third the size of
its JSON. Whatever goes into one is an address, a number or a checked name, never a user's text.

A ruleset is made of pieces. Each is written whole, and leaves its digest in a chain of its own in the same
transaction: so whether it stands as asked is read from the kernel, and what has not changed is not touched.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sorairo.drivers.protocols import DriverError

TABLE = "sorairo"
_MARK = "is-"


@dataclass(frozen=True, slots=True)
class Piece:
    """`text` makes the piece what it should be, from nothing and from any earlier version of itself."""

    name: str
    text: str
    chains: tuple[str, ...] = ()
    """The chains it makes. A chain that no piece makes any more is deleted."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Listed:
    """What stands in a namespace."""

    pieces: dict[str, str] = field(default_factory=dict)
    """Name and digest."""
    chains: frozenset[str] = frozenset()

    def has(self, piece: Piece) -> bool:
        return self.pieces.get(piece.name) == piece.digest


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


def sync(pieces: Sequence[Piece], now: Listed | None = None) -> None:
    """Bring the table of the namespace the thread is in in line, in one transaction, or none if it is.

    A piece comes after those whose sets and chains it mentions. Raises DriverError with nft's own words.
    """
    now = listed() if now is None else now
    changed = [piece for piece in pieces if not now.has(piece)]
    kept = {name for piece in pieces for name in (*piece.chains, _MARK + piece.name)}
    stale = sorted(now.chains - kept)
    if changed or stale:
        text = "".join(chain(_MARK + p.name, f'return comment "{p.digest}"') + p.text for p in changed)
        text += "".join(f"flush chain ip {TABLE} {name}\n" for name in stale)
        text += "".join(f"delete chain ip {TABLE} {name}\n" for name in stale)
        apply(f"add table ip {TABLE}\n{text}")


def apply(text: str) -> None:
    """Run a ruleset as one transaction in the namespace the thread is in: all of it or none."""
    ran = subprocess.run(["nft", "-f", "-"], input=text.encode(), capture_output=True, check=False)
    if ran.returncode:
        raise DriverError(f"nft: {ran.stderr.decode(errors='replace').strip()}")


def listed() -> Listed:
    """What stands in the namespace the thread is in; nothing when it has no table."""
    ran = subprocess.run(["nft", "-j", "-t", "list", "table", "ip", TABLE], capture_output=True, check=False)
    if ran.returncode:
        return Listed()
    entries: list[dict[str, Any]] = json.loads(ran.stdout)["nftables"]
    rules = [entry["rule"] for entry in entries if "rule" in entry]
    return Listed(
        {r["chain"].removeprefix(_MARK): r.get("comment", "") for r in rules if r["chain"].startswith(_MARK)},
        frozenset(entry["chain"]["name"] for entry in entries if "chain" in entry),
    )
