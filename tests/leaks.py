"""Secrets are only where they belong: looked for at the end of every installation that a test makes.

What is secret is taken from where it rightly is (the credentials' file, keys, the private part of stored documents) and
from what tests were given (tokens, kubeconfigs, passwords). Then everything else is read: logs, files that others than
their owner may read, what the store keeps for showing (documents, operations, activity, traces, the directory), and
what the resource manager answers.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from installation import Installation

LARGEST = 4 << 20
"""Bytes of a file that is read: logs are rotated long before."""
NOT_OURS = ("azure", "bin", "lib", "root", "rootfs", "images", "etcd", "usr", "containerd")
"""Folders that are az's, or a machine's own."""
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
_NAMED = frozenset(("password", "secret", "secrettext", "clientsecret", "accesstoken", "refreshtoken", "token"))


class Secrets:
    """Texts that must not be found, and what each is."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def add(self, what: str, text: str) -> None:
        """A key in PEM is known by its own lines, and as what a kubeconfig has of it."""
        if found := _PEM.findall(text):
            for pem in found:
                lines = [line for line in pem.splitlines() if len(line) > 40 and "-----" not in line]
                self._known |= dict.fromkeys(lines[1:2], what)
                self._known[base64.b64encode(pem.encode()).decode()[80:160]] = f"{what} in base64"
        elif len(text) > 11 and not text.isdecimal():
            self._known[text] = what

    def take(self, what: str, value: Any) -> None:
        """Whatever in a document is a key, or is called a secret."""
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, str) and (str(key).lower() in _NAMED or "PRIVATE KEY" in inner):
                    self.add(f"{what}.{key}", inner)
                else:
                    self.take(f"{what}.{key}", inner)
        elif isinstance(value, list):
            for inner in value:
                self.take(what, inner)

    def found_in(self, text: str) -> Iterator[str]:
        return (what for secret, what in self._known.items() if secret in text)

    def __len__(self) -> int:
        return len(self._known)


def leaks(it: Installation) -> list[str]:
    """Where a secret is and should not be, in words. Nothing is asked of a daemon that is down."""
    database = it.state.root / "state.db"
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        documents = [json.loads(doc) for (doc,) in store.execute("SELECT doc FROM resources")]
        _collect(it, documents)
        shown = [(d["id"], json.dumps({**d, "private": None})) for d in documents]
        kept = [(name, _rows(store, name)) for name in ("operations", "spans", "activity", "notes")]
    places = [*_files(it.state.root), *shown, *kept, *_answers(it, [d["id"] for d in documents])]
    return sorted({f"{what} is in {where}" for where, text in places for what in it.secrets.found_in(text)})


def _collect(it: Installation, documents: Iterable[dict[str, Any]]) -> None:
    it.secrets.take("the administrator's", json.loads(it.state.credentials.read_text()))
    for key in json.loads(it.state.signing_keys.read_text())["keys"]:
        it.secrets.add("a signing key", key["d"])
    for file in (it.state.server_key, it.state.tls / "ca.key"):
        if file.exists():
            it.secrets.add(file.name, file.read_text())
    for document in documents:
        it.secrets.take(f"private {document['id'].rpartition('/')[2]}", document.get("private") or {})
    if it._http is not None:
        it.secrets.add("a token", it._http.headers["Authorization"].removeprefix("Bearer "))


def _rows(store: sqlite3.Connection, table: str) -> str:
    return "\n".join(str(row) for row in store.execute(f"SELECT * FROM {table}"))


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Logs, and whatever others may read."""
    ahead = [root]
    while ahead:
        folder = ahead.pop()
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                stat = path.lstat()
                if path.is_symlink() or stat.st_size > LARGEST:
                    continue
                if path.is_dir():
                    if path.name not in NOT_OURS and len(path.relative_to(root).parts) < 6:
                        ahead.append(path)
                elif path.is_file():
                    logged = "log" in path.name or any(p in ("log", "logs") for p in path.relative_to(root).parts)
                    if logged or stat.st_mode & 0o077:
                        yield str(path.relative_to(root)), path.read_text(errors="replace")


def _answers(it: Installation, ids: list[str]) -> Iterator[tuple[str, str]]:
    """What is shown of everything there is, as long as somebody answers."""
    if it.process is None or it.process.poll() is not None or it._http is None:
        return
    with contextlib.suppress(Exception):
        for id in ids:
            yield f"GET {id}", it.arm("GET", id).text
        for path in ("providers/Microsoft.Insights/eventtypes/management/values", "resources", "resourceGroups"):
            yield f"GET {path}", it.arm("GET", path).text
        yield "GET operations", it.arm("GET", "/providers/Microsoft.Sorairo/operations").text
