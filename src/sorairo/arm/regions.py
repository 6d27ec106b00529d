"""A few of Azure's regions, as `/subscriptions/{id}/locations` describes them.

https://learn.microsoft.com/azure/reliability/regions-list
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Region(NamedTuple):
    name: str
    display: str
    geography: str
    group: str
    place: str
    latitude: str
    longitude: str
    pair: str


REGIONS: tuple[Region, ...] = (
    Region("eastus", "East US", "United States", "US", "Virginia", "37.3719", "-79.8164", "westus"),
    Region("eastus2", "East US 2", "United States", "US", "Virginia", "36.6681", "-78.3889", "centralus"),
    Region("centralus", "Central US", "United States", "US", "Iowa", "41.5908", "-93.6208", "eastus2"),
    Region("westus", "West US", "United States", "US", "California", "37.783", "-122.417", "eastus"),
    Region("westus2", "West US 2", "United States", "US", "Washington", "47.233", "-119.852", "westcentralus"),
    Region("westus3", "West US 3", "United States", "US", "Phoenix", "33.448376", "-112.074036", "eastus"),
    Region(
        "westcentralus", "West Central US", "United States", "US", "Wyoming", "40.89", "-110.234", "westus2"
    ),
    Region("canadacentral", "Canada Central", "Canada", "Canada", "Toronto", "43.653", "-79.383", "canadaeast"),
    Region("canadaeast", "Canada East", "Canada", "Canada", "Quebec", "46.817", "-71.217", "canadacentral"),
    Region(
        "brazilsouth", "Brazil South", "Brazil", "South America", "Sao Paulo State", "-23.55", "-46.633", ""
    ),
    Region("northeurope", "North Europe", "Europe", "Europe", "Ireland", "53.3478", "-6.2597", "westeurope"),
    Region("westeurope", "West Europe", "Europe", "Europe", "Netherlands", "52.3667", "4.9", "northeurope"),
    Region("uksouth", "UK South", "United Kingdom", "UK", "London", "50.941", "-0.799", "ukwest"),
    Region("ukwest", "UK West", "United Kingdom", "UK", "Cardiff", "53.427", "-3.084", "uksouth"),
    Region("francecentral", "France Central", "France", "Europe", "Paris", "46.3772", "2.373", ""),
    Region("germanywestcentral", "Germany West Central", "Germany", "Europe", "Frankfurt", "50.110924", "8.682127", ""),
    Region("swedencentral", "Sweden Central", "Sweden", "Europe", "Gävle", "60.67488", "17.14127", ""),
    Region("switzerlandnorth", "Switzerland North", "Switzerland", "Europe", "Zurich", "47.451542", "8.564572", ""),
    Region("japaneast", "Japan East", "Japan", "Asia Pacific", "Tokyo, Saitama", "35.68", "139.77", "japanwest"),
    Region("japanwest", "Japan West", "Japan", "Asia Pacific", "Osaka", "34.6939", "135.5022", "japaneast"),
    Region("koreacentral", "Korea Central", "Korea", "Asia Pacific", "Seoul", "37.5665", "126.978", ""),
    Region("eastasia", "East Asia", "Asia Pacific", "Asia Pacific", "Hong Kong", "22.267", "114.188", "southeastasia"),
    Region("southeastasia", "Southeast Asia", "Asia Pacific", "Asia Pacific", "Singapore", "1.283", "103.833",
           "eastasia"),
    Region("australiaeast", "Australia East", "Australia", "Asia Pacific", "New South Wales", "-33.86", "151.2094", ""),
    Region("centralindia", "Central India", "India", "Asia Pacific", "Pune", "18.5822", "73.9197", ""),
    Region("southafricanorth", "South Africa North", "South Africa", "Africa", "Johannesburg", "-25.73134",
           "28.21837", ""),
    Region("uaenorth", "UAE North", "UAE", "Middle East", "Dubai", "25.266666", "55.316666", ""),
)  # fmt: skip

NAMES = tuple(r.name for r in REGIONS)
DISPLAY_NAMES = [r.display for r in REGIONS]
_KNOWN = frozenset(NAMES)


def known(location: str) -> bool:
    """`West Europe` and `westeurope` are the same place; `global` is where what has no place is."""
    plain = location.replace(" ", "").lower()
    return plain in _KNOWN or plain == "global"


def locations(subscription: str) -> list[dict[str, Any]]:
    """The documents of a subscription's `locations` list."""
    base = f"/subscriptions/{subscription}/locations"
    return [
        {
            "id": f"{base}/{r.name}",
            "name": r.name,
            "type": "Region",
            "displayName": r.display,
            "regionalDisplayName": f"({r.group}) {r.display}",
            "metadata": {
                "regionType": "Physical",
                "regionCategory": "Recommended",
                "geography": r.geography,
                "geographyGroup": r.group,
                "latitude": r.latitude,
                "longitude": r.longitude,
                "physicalLocation": r.place,
                "pairedRegion": [{"id": f"{base}/{r.pair}", "name": r.pair}] if r.pair else [],
            },
        }
        for r in REGIONS
    ]
