"""What `main` tells the ARM surface about its surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Limits = Literal["generous", "azure"]


@dataclass(frozen=True, slots=True)
class Settings:
    tenant: Mapping[str, str] = field(default_factory=dict)
    """`tenantId`, `displayName`, `domain`."""
    cloud: str = "sorairo"
    """The cloud's name in `/metadata/endpoints`."""
    base_url: str = ""
    """`https://HOST:PORT` under which clients find us; '' for what each client wrote in its request."""
    login_url: str = ""
    """Where the token service is; '' for the same origin."""
    graph_url: str = ""
    """Where the directory (Graph) is; '' for the same origin."""
    suffix: str = "sorairo.internal"
    """Of the names of data planes."""
    limits: Limits = "generous"
    """Sizes of the throttling buckets; `azure` for Azure's own."""
    image_aliases: Mapping[str, Any] = field(default_factory=dict)
    """Names of platform images, in the shape that `az vm create --image` looks them up in."""
    largest_body: int = 4 * 1024 * 1024
    """Bytes; ARM's limit."""
    patience: float = 0.25
    """Seconds a PUT or PATCH waits for its operation. What is made that soon is answered as done: a client that is
    told to ask again sleeps a second first, and those that do not expect an operation never ask."""
    trace_reads: bool = False
    """Record a span for every GET too, not only for those that a traced caller makes."""
