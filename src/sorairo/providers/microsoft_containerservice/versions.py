"""Kubernetes versions: those whose wheels are installed, and nothing else.

https://learn.microsoft.com/azure/aks/supported-kubernetes-versions
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from sorairo.engine.errors import ArmError

API_VERSIONS = (
    "2026-08-01", "2026-07-01", "2026-06-01", "2026-05-01", "2026-04-01", "2026-03-01", "2026-02-01", "2026-01-01",
    "2025-10-01", "2025-09-01", "2025-08-01", "2025-07-01", "2025-06-01", "2025-05-01", "2025-04-01", "2025-03-01",
    "2025-02-01", "2025-01-01", "2024-10-01", "2024-09-01", "2024-08-01", "2024-07-01", "2024-06-01", "2024-05-01",
    "2024-03-01", "2024-02-01", "2024-01-01", "2023-11-01", "2023-10-01", "2023-09-01", "2023-08-01", "2023-07-01",
    "2023-06-01", "2023-05-01", "2023-04-01", "2023-03-01", "2023-02-01", "2023-01-01", "2022-11-01", "2022-09-01",
    "2022-04-01", "2021-10-01", "2021-05-01", "2020-12-01", "2020-09-01", "2019-06-01",
)  # fmt: skip


@lru_cache
def installed() -> dict[str, str]:
    """Minor → full version (`{"1.37": "1.37.2"}`), newest first, from the wheels' entry points."""
    found = {e.name: str(e.load().VERSION) for e in entry_points(group="sorairo.kubernetes")}
    return dict(sorted(found.items(), key=lambda item: _order(item[1]), reverse=True))


def later_than(version: str) -> list[str]:
    """What a cluster of this version may be upgraded to: newer patches, and the next minor version."""
    here = _order(version)
    return [v for v in reversed(installed().values()) if here < _order(v) and _order(v)[1] <= here[1] + 1]


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def resolve(asked: str, location: str) -> str:
    """The full version meant by `''` (the newest), `1.37` or `1.37.2`. Raises AKS's error for others."""
    known = installed()
    if not known:
        raise ArmError(
            "K8sVersionNotSupported",
            "No Kubernetes version is installed: build one with `make engine`, or install a sorairo-kubernetes wheel. "
            "`sorairo doctor` tells what is there.",
            target="kubernetesVersion",
        )
    if not asked:
        return next(iter(known.values()))
    asked = asked.removeprefix("v")
    if asked in known:
        return known[asked]
    if asked in known.values():
        return asked
    raise ArmError(
        "K8sVersionNotSupported",
        f"Managed cluster version '{asked}' is not supported in location '{location}'. Please use "
        "[az aks get-versions] command to get the supported version list in this region: "
        f"{', '.join(known.values())}. For more information, please check https://aka.ms/supported-version-list",
        target="kubernetesVersion",
    )


async def list_versions(**_: Any) -> Any:
    """`GET …/locations/{location}/kubernetesVersions`, what `az aks get-versions` shows."""
    known = installed()
    newest = next(iter(known), None)
    values = []
    for minor, version in known.items():
        values.append(
            {
                "version": minor,
                "capabilities": {"supportPlan": ["KubernetesOfficial"]},
                "isDefault": minor == newest,
                "isPreview": False,
                "patchVersions": {version: {"upgrades": later_than(version)}},
            }
        )
    return {"values": values}
