"""What a load balancer's document may say: parts refer to parts that are there, and no two want the same port.

https://learn.microsoft.com/azure/load-balancer/load-balancer-common-deployment-errors
"""

from __future__ import annotations

from typing import Any

from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.types import Admission, Document, Resource
from sorairo.providers.microsoft_network import balancing, snat
from sorairo.providers.microsoft_network.addresses import number, parse_prefix, usable
from sorairo.providers.microsoft_network.interface_admission import find_subnet
from sorairo.providers.microsoft_network.public_ip_users import check_free
from sorairo.providers.microsoft_network.references import missing
from sorairo.providers.microsoft_network.virtual_networks import subnet_prefix

PARTS = ("frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes", "inboundNatRules",
         "outboundRules", "inboundNatPools")  # fmt: skip
REFERENCES = {
    "loadBalancingRules": ("frontendIPConfiguration", "backendAddressPool", "backendAddressPools", "probe"),
    "inboundNatRules": ("frontendIPConfiguration", "backendAddressPool"),
    "outboundRules": ("frontendIPConfigurations", "backendAddressPool"),
    "inboundNatPools": ("frontendIPConfiguration",),
}
"""Properties by which parts name other parts of the same load balancer."""


async def admit(admission: Admission) -> None:
    admission.body.setdefault("sku", {"name": "Standard", "tier": "Regional"})
    admission.body["sku"].setdefault("tier", "Regional")
    properties = admission.body["properties"]
    if admission.body["sku"]["tier"] == "Global":
        raise not_implemented("cross-region load balancers")
    for part in PARTS:
        for item in properties.setdefault(part, []):
            for key in ("id", "type", "etag"):
                item.pop(key, None)
            item.setdefault("properties", {}).pop("provisioningState", None)
    if properties["inboundNatPools"]:
        raise not_implemented("inbound NAT pools (an inbound NAT rule with a backend pool does what they do)")
    _defaults(properties)
    before = admission.existing.properties.get("frontendIPConfigurations") or [] if admission.existing else []
    held = {(_public_ip_of(each), str(each["name"]).lower()) for each in before}
    for frontend in properties["frontendIPConfigurations"]:
        await _frontend(admission, frontend, held)
    _references(admission.id.text, properties)
    _ports(admission.id.text, properties)
    _outbound(admission.id.text, properties)
    await _ports_out(admission)


def _defaults(properties: Document) -> None:
    for rule in properties["loadBalancingRules"]:
        inner = rule["properties"]
        for key, value in (("enableFloatingIP", False), ("enableTcpReset", False), ("disableOutboundSnat", False),
                           ("idleTimeoutInMinutes", 4), ("loadDistribution", "Default")):  # fmt: skip
            inner.setdefault(key, value)
        if pool := inner.get("backendAddressPool"):
            inner.setdefault("backendAddressPools", [{"id": pool["id"]}])
    for rule in properties["inboundNatRules"]:
        inner = rule["properties"]
        for key, value in (("protocol", "Tcp"), ("enableFloatingIP", False), ("enableTcpReset", False),
                           ("idleTimeoutInMinutes", 4)):  # fmt: skip
            inner.setdefault(key, value)
    for rule in properties["outboundRules"]:
        for key, value in (("allocatedOutboundPorts", 0), ("enableTcpReset", False), ("idleTimeoutInMinutes", 4)):
            rule["properties"].setdefault(key, value)
    for probe in properties["probes"]:
        probe["properties"].setdefault("intervalInSeconds", 15)
        probe["properties"].setdefault("numberOfProbes", 2)
        probe["properties"].setdefault("probeThreshold", 1)


# --- frontends -------------------------------------------------------------------------------------------


def _public_ip_of(frontend: Document) -> str:
    return str((frontend["properties"].get("publicIPAddress") or {}).get("id") or "").lower()


async def _frontend(admission: Admission, frontend: Document, held: set[tuple[str, str]]) -> None:
    """`held`: public IPs and who has them, of this load balancer as it is."""
    properties = frontend["properties"]
    properties.setdefault("privateIPAllocationMethod", "Dynamic")
    subnet_id = (properties.get("subnet") or {}).get("id")
    public_ip = (properties.get("publicIPAddress") or {}).get("id")
    id = f"{admission.id.text}/frontendIPConfigurations/{frontend['name']}"
    if properties.get("publicIPPrefix"):
        raise not_implemented("load balancer frontends of public IP prefixes")
    if not subnet_id and not public_ip:
        raise ArmError(
            "FrontendIPConfigMustHaveSubnetOrPublicIP",
            f"Frontend IP Configuration {id} must reference either a Subnet, Public IP Address or Public IP Prefix.",
            target=frontend["name"],
        )
    if subnet_id and public_ip:
        raise ArmError(
            "FrontendIPConfigHasBothSubnetAndPublicIP",
            f"Frontend IP Configuration {id} must not reference both a Subnet and a Public IP Address.",
            target=frontend["name"],
        )
    if public_ip:
        properties["publicIPAddress"] = {"id": public_ip}
        await _public_ip(admission, public_ip)
        # Who has it already need not look for others: with hundreds of frontends that is all the time it takes.
        if (public_ip.lower(), str(frontend["name"]).lower()) not in held:
            await check_free(admission.reader, id, public_ip)
    if not subnet_id:
        properties.pop("subnet", None)
        return
    properties.pop("publicIPAddress", None)
    # Clients send a subnet back as they got it, whole; what counts is which.
    properties["subnet"] = {"id": subnet_id}
    subnet = await find_subnet(admission.reader, subnet_id, admission.id.text)
    properties.setdefault("privateIPAddressVersion", "IPv4")
    wanted = properties.get("privateIPAddress")
    if properties["privateIPAllocationMethod"] != "Static":
        properties.pop("privateIPAddress", None)
    elif not wanted or number(wanted) not in usable(parse_prefix(subnet_prefix(subnet), subnet_id)):
        raise ArmError(
            "PrivateIPAddressNotInSubnet",
            f"Private static IP address {wanted} does not belong to the range of subnet prefix "
            f"{subnet_prefix(subnet)}.",
            target=frontend.get("name"),
        )


async def _public_ip(admission: Admission, public_ip: str) -> None:
    pip = await admission.reader.get(public_ip)
    if pip is None:
        raise missing(public_ip, admission.id.text)
    theirs, ours = pip.body.get("sku", {}).get("name", "Basic"), admission.body["sku"]["name"]
    if str(theirs).lower() != str(ours).lower():
        raise ArmError(
            "DifferentSkuLoadBalancersAndPublicIPAddressNotAllowed",
            f"Different sku load balancers and public IP addresses are not allowed: {admission.id.text} is {ours}, "
            f"{public_ip} is {theirs}.",
            target=public_ip,
        )


# --- parts that name parts -------------------------------------------------------------------------------


def _references(id: str, properties: Document) -> None:
    there = {f"{id}/{part}/{item['name']}".lower() for part in PARTS for item in properties[part] if item.get("name")}
    for part, keys in REFERENCES.items():
        for item in properties[part]:
            for key in keys:
                value = item["properties"].get(key)
                for each in value if isinstance(value, list) else [value] if value else []:
                    if str(each.get("id", "")).lower() not in there:
                        raise missing(str(each.get("id", "")), f"{id}/{part}/{item['name']}")


def _ports(id: str, properties: Document) -> None:
    frontends: dict[tuple[Any, ...], str] = {}
    backends: dict[tuple[Any, ...], str] = {}
    for part in ("loadBalancingRules", "inboundNatRules"):
        for item in properties[part]:
            inner = item["properties"]
            name = f"{id}/{part}/{item['name']}"
            frontend = _reference(inner, "frontendIPConfiguration")
            if not frontend:
                raise ArmError(
                    "InvalidRequestFormat",
                    f"{name} has no frontendIPConfiguration.",
                    target=f"{part}.{item['name']}",
                )
            if part == "loadBalancingRules":
                _rule(name, inner, backends)
            for port in _frontend_ports(inner):
                other = frontends.setdefault((frontend, str(inner["protocol"]).lower(), port), name)
                if other != name:
                    raise ArmError(
                        "RulesUseSameFrontendPortProtocolAndIPConfig",
                        f"Load balancing rules {other} and {name} use the same frontend IP configuration {frontend}, "
                        f"protocol {inner['protocol']} and frontend port {port}.",
                        target=item["name"],
                    )


def _rule(name: str, inner: Document, backends: dict[tuple[Any, ...], str]) -> None:
    everything = str(inner.get("protocol")).lower() == "all"
    if everything != (inner.get("frontendPort") == 0) or everything != (inner.get("backendPort", 0) == 0):
        raise ArmError(
            "LoadBalancingRuleInvalidPort",
            f"Load balancing rule {name}: frontend and backend port are 0 with protocol All, and 1 to 65534 otherwise.",
            target=name.rsplit("/", 1)[1],
        )
    pool = _reference(inner, "backendAddressPool")
    if not pool or inner["enableFloatingIP"]:
        return
    other = backends.setdefault((pool, str(inner["protocol"]).lower(), inner.get("backendPort")), name)
    if other != name:
        raise ArmError(
            "RulesUseSameBackendPortProtocolAndPool",
            f"Load balancing rules {other} and {name} with floating IP disabled use the same protocol "
            f"{inner['protocol']} and backend port {inner.get('backendPort')}, and must not be used with the same "
            f"backend address pool {pool}.",
            target=name.rsplit("/", 1)[1],
        )


def _frontend_ports(inner: Document) -> range:
    if "frontendPortRangeStart" in inner:
        return range(int(inner["frontendPortRangeStart"]), int(inner.get("frontendPortRangeEnd") or 0) + 1)
    port = int(inner.get("frontendPort") or 0)
    return range(port, port + 1)


def _outbound(id: str, properties: Document) -> None:
    outbound = {
        str(f["id"]).lower(): rule["name"]
        for rule in properties["outboundRules"]
        for f in rule["properties"].get("frontendIPConfigurations") or []
    }
    for rule in properties["loadBalancingRules"]:
        frontend = _reference(rule["properties"], "frontendIPConfiguration")
        if frontend in outbound and not rule["properties"]["disableOutboundSnat"]:
            raise ArmError(
                "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule",
                f"Load balancing rule {id}/loadBalancingRules/{rule['name']} must disable SNAT since same frontend IP "
                f"configuration {frontend} is referenced by outbound rule {id}/outboundRules/{outbound[frontend]}.",
                target=rule["name"],
            )


async def _ports_out(admission: Admission) -> None:
    rules = [r for r in admission.body["properties"]["outboundRules"] if r["properties"]["allocatedOutboundPorts"]]
    if rules:
        seen = await balancing.look(admission.reader, Resource(admission.id.text, admission.body))
        for rule in rules:
            pool = balancing.leaf(balancing.reference(rule["properties"], "backendAddressPool"))
            snat.check(admission.id.text, rule, len(seen.pools.get(pool, ())))


def _reference(properties: Document, key: str) -> str:
    return str((properties.get(key) or {}).get("id") or "").lower()
