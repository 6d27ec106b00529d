"""Microsoft.Authorization/denyAssignments: read only, since on Azure only the system makes them; here none does yet.

https://learn.microsoft.com/azure/role-based-access-control/deny-assignments
"""

from __future__ import annotations

from sorairo.engine.types import ResourceType

DENY_ASSIGNMENTS: ResourceType[None] = ResourceType(
    "Microsoft.Authorization/denyAssignments",
    ("2022-04-01", "2024-07-01-preview", "2018-07-01-preview"),
    located=False,
    tracked=False,
    writable=False,
    within=lambda scope, filter: [],
)
