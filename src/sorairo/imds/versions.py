"""The api-versions of instance metadata, and with which of them each part came.

https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#instance-metadata
"""

from __future__ import annotations

from typing import Any

VERSIONS = (
    "2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01", "2018-02-01", "2018-04-02", "2018-10-01",
    "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01",
    "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01",
    "2021-05-01", "2021-10-01", "2021-11-01", "2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15",
    "2024-07-17", "2025-04-07",
)  # fmt: skip
"""Oldest first."""
LOAD_BALANCERS = "2020-10-01"
"""The first that tells of load balancers."""

_COMPUTE = {
    "2017-04-02": "location name offer osType platformFaultDomain platformUpdateDomain publisher sku version vmId "
    "vmSize",
    "2017-08-01": "placementGroupId resourceGroupName subscriptionId tags",
    "2017-12-01": "vmScaleSetName zone",
    "2018-04-02": "plan publicKeys",
    "2018-10-01": "azEnvironment provider",
    "2019-02-01": "customData",
    "2019-03-11": "resourceId",
    "2019-06-01": "storageProfile",
    "2019-06-04": "tagsList",
    "2020-06-01": "isHostCompatibilityLayerVm securityProfile",
    "2020-07-15": "osProfile",
    "2020-09-01": "licenseType",
    "2020-12-01": "evictionPolicy priority",
    "2021-01-01": "userData",
    "2021-03-01": "extendedLocation virtualMachineScaleSet",
    "2021-10-01": "platformSubFaultDomain",
    "2021-11-01": "additionalCapabilities",
    "2021-11-15": "host hostGroup",
    "2023-11-15": "physicalZone",
}
INTRODUCED = {name: version for version, names in _COMPUTE.items() for name in names.split()}
"""By name of `compute`'s members. What is not here has been there from the first."""


def newest() -> list[str]:
    """As an error names them."""
    return list(VERSIONS[:-4:-1])


def as_of(version: str, compute: dict[str, Any]) -> dict[str, Any]:
    """What of `compute` an api-version has."""
    return {k: v for k, v in compute.items() if INTRODUCED.get(k, "") <= version}
