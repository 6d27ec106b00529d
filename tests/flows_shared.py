"""What flows share: names of what all on the hollow substrate use, a cluster as `kubectl` sees it, waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from installation import Installation

GROUP, CLUSTER = "flows", "shared"

T = TypeVar("T")


class Kubectl:
    """Of one cluster, as its users have it."""

    def __init__(self, on: Installation, group: str, name: str) -> None:
        self.on, self.config = on, on.kubeconfig(group, name)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.on.kubectl(self.config, *arguments, stdin=stdin, check=check)

    def apply(self, *objects: object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))  # type: ignore[no-any-return]


def eventually(what: str, check: Callable[[], T], seconds: float = 60) -> T:
    """What `check` answers, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found
