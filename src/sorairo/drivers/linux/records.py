"""Owner records: what each host object was asked to be, kept beside it under the run folder.

A record is written before its object is made and removed after the object is gone, so that whatever a crash leaves
on the host has a record by which it can be finished or taken away. The folder goes with a reboot, as the objects do.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Records(Generic[T]):
    """Specs of one kind, one JSON file each, by id."""

    def __init__(self, folder: Path, kind: type[T]) -> None:
        self._folder = folder
        self._decoder = msgspec.json.Decoder(kind)

    def get(self, record_id: str) -> T | None:
        """None too when unreadable: a record of another version is one to be written anew."""
        try:
            return self._decoder.decode((self._folder / f"{record_id}.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def put(self, record_id: str, spec: T) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f".{record_id}"
        draft.write_bytes(msgspec.json.encode(spec))
        draft.rename(self._folder / f"{record_id}.json")

    def drop(self, record_id: str) -> None:
        (self._folder / f"{record_id}.json").unlink(missing_ok=True)

    def all(self) -> dict[str, T]:
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self._folder.glob("[!.]*.json")):
                spec = self.get(path.stem)
                if spec is not None:
                    found[path.stem] = spec
        return found
