"""What an installation consists of, as a value to compare: before and after a request that must change nothing."""

from __future__ import annotations

from dataclasses import dataclass

from installation import Installation


@dataclass(frozen=True)
class Snapshot:
    resources: frozenset[tuple[str, str]]
    """Id and time of the last change."""
    groups: frozenset[str]
    machines: frozenset[str]
    """Control planes, and what else has processes."""

    @classmethod
    def of(cls, on: Installation) -> Snapshot:
        listed = on.http.get(
            f"{on.subscription}/resources", params={"api-version": "2024-11-01", "$expand": "changedTime"}
        )
        resources = listed.json()["value"]
        groups = on.arm("GET", "resourceGroups").json()["value"]
        status = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]
        return cls(
            frozenset((r["id"].lower(), r["changedTime"]) for r in resources),
            frozenset(g["id"].lower() for g in groups),
            frozenset(f"{m['id']} {[p['pid'] for p in m['processes']]}" for m in status["machines"]),
        )
