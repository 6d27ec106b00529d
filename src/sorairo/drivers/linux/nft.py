"""Packet filter tables, changed by one transaction at a time.

Rulesets are kept in nft's own language: it is what `nft list` shows, what its manual explains, and a third the size of
its JSON. Whatever goes into one is an address, a number or a checked name, never a user's text.

A ruleset is made of pieces, each written whole by one transaction that also leaves a digest of the piece in a chain of
its own. So whether a piece stands as asked is read from the kernel by comparing the digest.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

from sorairo.drivers.protocols import DriverError

TABLE = "sorairo"
_MARK = "is-"


def apply(text: str) -> None:
    """Run a ruleset as one transaction in the namespace the thread is in: all of it or none.

    Raises DriverError with nft's own words.
    """
    ran = subprocess.run(["nft", "-f", "-"], input=text.encode(), capture_output=True, check=False)
    if ran.returncode:
        raise DriverError(f"nft: {ran.stderr.decode(errors='replace').strip()}")


def apply_piece(name: str, text: str) -> None:
    """Apply the piece `name` and the mark that it was. The table is made when missing."""
    chain = f"{TABLE} {_MARK}{name}"
    apply(
        f"add table ip {TABLE}\n"
        f"add chain ip {chain}\nflush chain ip {chain}\n"
        f'add rule ip {chain} return comment "{digest(text)}"\n'
        f"{text}"
    )


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def pieces() -> dict[str, str]:
    """Name and digest of every piece that stands in the namespace the thread is in; empty without a table."""
    ran = subprocess.run(["nft", "-j", "-t", "list", "table", "ip", TABLE], capture_output=True, check=False)
    if ran.returncode:
        return {}
    listed: list[dict[str, Any]] = json.loads(ran.stdout)["nftables"]
    rules = (entry["rule"] for entry in listed if "rule" in entry)
    return {rule["chain"].removeprefix(_MARK): rule["comment"] for rule in rules if rule["chain"].startswith(_MARK)}
