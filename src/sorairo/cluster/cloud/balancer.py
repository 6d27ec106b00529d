"""A load balancer's document, before and after: pure.

Everything that is a Service's is named after it (`a` and 31 digits of its uid); what is not, is left as it is.
https://learn.microsoft.com/rest/api/load-balancer/load-balancers/create-or-update
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sorairo.cluster.cloud import names
from sorairo.cluster.cloud.service import Exposure, InvalidService, Probe, Rule

Document = dict[str, Any]

PARTS = ("frontendIPConfigurations", "loadBalancingRules", "probes")
_USERS = ("loadBalancingRules", "inboundNatRules", "inboundNatPools", "outboundRules")
"""Parts that refer to frontends."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a Service is to be reached: at a public IP (its id), or in a subnet (its id), there at `address` if that
    was asked for."""

    public_ip: str | None = None
    subnet: str | None = None
    address: str | None = None


@dataclass(slots=True)
class Change:
    """What `change` made of a document."""

    document: Document | None
    """None: nothing is left of it, it goes."""
    changed: bool
    refused: dict[str, InvalidService]
    """By Service: what it may not have; what it had is as it was."""
    left: dict[str, set[str]]
    """By prefix: ids, in lower case, of public IPs that the Service was reached at here and is no more."""


def change(
    id: str,
    before: Document | None,
    wanted: Sequence[tuple[Exposure, Target]],
    unwanted: Collection[str],
    others: Collection[str] = (),
    *,
    fresh: Document,
    outbound_rule: bool,
) -> Change:
    """Put what `wanted` asks for into the load balancer `id`, and take out what the Services `unwanted` (prefixes)
    have there. `others`: prefixes of Services that are there besides. `fresh`: what a load balancer that is not there
    yet begins with."""
    work = _Work(id, before if before is not None else fresh, outbound_rule)
    refused: dict[str, InvalidService] = {}
    touched = {*unwanted, *(e.prefix for e, _ in wanted)}
    used = work.public_ips(touched)
    shared = work.frontends_of(touched)
    for prefix in unwanted:
        work.remove(prefix)
    for exposure, target in wanted:
        undo = work.snapshot()
        try:
            work.place(exposure, target)
        except InvalidService as e:
            refused[exposure.key] = e
            work.restore(undo)
    ours = {n for n in shared if names.owner(n) not in others}
    work.prune(touched, ours, {e.prefix for e, _ in wanted if e.key not in refused})
    still = work.public_ips(touched)
    left = {prefix: gone for prefix in touched if (gone := used[prefix] - still[prefix])}
    properties = work.document["properties"]
    if not any(properties.get(part) for part in (*_USERS, "frontendIPConfigurations")):
        # Azure takes no load balancer without a frontend.
        return Change(None, before is not None, refused, left)
    return Change(work.document, work.changed, refused, left)


def fresh(location: str, tags: dict[str, str]) -> Document:
    """A load balancer before its first frontend."""
    return {
        "location": location,
        "tags": tags,
        "sku": {"name": "Standard"},
        "properties": {"backendAddressPools": [{"name": names.POOL, "properties": {}}]},
    }


def address_of(document: Document | None, exposure: Exposure, target: Target) -> str | None:
    """The private address that an internal Service has got. None: not yet."""
    for frontend in ((document or {}).get("properties") or {}).get("frontendIPConfigurations") or []:
        if _serves(frontend, exposure, target):
            address = frontend["properties"].get("privateIPAddress")
            return str(address) if address else None
    return None


class _Work:
    """A document under change. Items are replaced, never changed: those of the document it began with stay its own."""

    def __init__(self, id: str, before: Document, outbound_rule: bool) -> None:
        self.id = id
        self.changed = False
        self._outbound_rule = outbound_rule
        properties = dict(before.get("properties") or {})
        self.document = {**before, "properties": properties}
        for part in (*PARTS, "backendAddressPools"):
            properties[part] = list(properties.get(part) or [])
        pools = properties["backendAddressPools"]
        if not any(str(p["name"]).lower() == names.POOL for p in pools):
            pools.append({"name": names.POOL, "properties": {}})
            self.changed = True

    def _items(self, part: str) -> list[Document]:
        return self.document["properties"].get(part) or []

    def snapshot(self) -> tuple[bool, dict[str, list[Document]]]:
        return self.changed, {part: list(self._items(part)) for part in PARTS}

    def restore(self, state: tuple[bool, dict[str, list[Document]]]) -> None:
        self.changed, parts = state
        self.document["properties"].update(parts)

    def public_ips(self, prefixes: Iterable[str]) -> dict[str, set[str]]:
        """By prefix: where a Service's rules and frontends of its name are reached."""
        found: dict[str, set[str]] = {prefix: set() for prefix in prefixes}
        at: dict[str, str] = {}
        for frontend in self._items("frontendIPConfigurations"):
            ip = _id(frontend.get("properties", {}).get("publicIPAddress"))
            at[f"{self.id}/frontendIPConfigurations/{frontend['name']}".lower()] = ip
            found.get(names.owner(frontend["name"]) or "", set()).add(ip)
        for rule in self._items("loadBalancingRules"):
            ip = at.get(_id(rule.get("properties", {}).get("frontendIPConfiguration")), "")
            found.get(names.owner(rule["name"]) or "", set()).add(ip)
        return {prefix: ips - {""} for prefix, ips in found.items()}

    def remove(self, prefix: str) -> None:
        for part in ("loadBalancingRules", "probes"):
            self._put(part, prefix, [])

    def place(self, exposure: Exposure, target: Target) -> None:
        frontend = self._frontend(exposure, target)
        id = f"{self.id}/frontendIPConfigurations/{frontend['name']}"
        self._check(exposure, id)
        rules = [{"name": r.name, "properties": self._rule(r, exposure, id)} for r in exposure.rules]
        self._put("loadBalancingRules", exposure.prefix, rules)
        self._put("probes", exposure.prefix, [{"name": p.name, "properties": _probe(p)} for p in exposure.probes])

    def frontends_of(self, prefixes: set[str]) -> set[str]:
        """Names of the frontends that these Services' rules refer to: perhaps named after Services that have gone."""
        found = {
            _id(rule.get("properties", {}).get("frontendIPConfiguration")).rpartition("/")[2]
            for rule in self._items("loadBalancingRules")
            if names.owner(rule["name"]) in prefixes
        }
        return {name for name in found if names.owner(name)}

    def prune(self, touched: set[str], shared: set[str], keep: set[str]) -> None:
        """Take away frontends that are a Service's (of those touched, or named in `shared`) and that nobody refers to
        any more."""
        used = {
            _id(reference)
            for part in _USERS
            for item in self._items(part)
            for reference in (
                item.get("properties", {}).get("frontendIPConfiguration"),
                *(item.get("properties", {}).get("frontendIPConfigurations") or []),
            )
        }
        left = []
        kept: set[str] = set()
        for frontend in reversed(self._items("frontendIPConfigurations")):
            prefix = names.owner(frontend["name"])
            free = f"{self.id}/frontendIPConfigurations/{frontend['name']}".lower() not in used
            # A Service whose ports all go without a rule keeps its address: the last frontend made for it.
            alone = prefix in keep and prefix not in kept and not self._has_rules(prefix)
            if (prefix in touched or frontend["name"].lower() in shared) and free and not alone:
                self.changed = True
                continue
            kept |= {prefix} if prefix else set()
            left.append(frontend)
        self.document["properties"]["frontendIPConfigurations"] = left[::-1]

    def _has_rules(self, prefix: str | None) -> bool:
        return any(names.owner(r["name"]) == prefix for r in self._items("loadBalancingRules"))

    def _frontend(self, exposure: Exposure, target: Target) -> Document:
        """The one that is there for the address (perhaps another Service's, whose address is shared), or a new one."""
        there = self._items("frontendIPConfigurations")
        for frontend in there:
            if _serves(frontend, exposure, target):
                return frontend
        taken = {str(f["name"]).lower() for f in there}
        # While an old address is still another Service's too, its frontend has the name.
        choices = (exposure.frontend if not n else f"{exposure.frontend[:76]}-{n}" for n in range(1000))
        name = next(c for c in choices if c.lower() not in taken or self._only(c, exposure.prefix))
        properties: Document
        if target.public_ip:
            properties = {"publicIPAddress": {"id": target.public_ip}}
        else:
            properties = {
                "subnet": {"id": target.subnet},
                "privateIPAddressVersion": "IPv4",
                "privateIPAllocationMethod": "Static" if target.address else "Dynamic",
                **({"privateIPAddress": target.address} if target.address else {}),
            }
        frontend = {"name": name, "properties": properties}
        self.document["properties"]["frontendIPConfigurations"] = [
            f for f in there if str(f["name"]).lower() != name.lower()
        ] + [frontend]
        self.changed = True
        return frontend

    def _only(self, frontend: str, prefix: str) -> bool:
        """Whether all that refers to a frontend of this name are rules of this Service."""
        id = f"{self.id}/frontendIPConfigurations/{frontend}".lower()
        return all(
            names.owner(item["name"]) == prefix
            for part in _USERS
            for item in self._items(part)
            if id
            in (
                _id(item.get("properties", {}).get("frontendIPConfiguration")),
                *(_id(r) for r in item.get("properties", {}).get("frontendIPConfigurations") or []),
            )
        )

    def _check(self, exposure: Exposure, frontend: str) -> None:
        taken = {(r.protocol.lower(), r.port): r for r in exposure.rules}
        for part, noun in (("loadBalancingRules", "loadBalancing"), ("inboundNatRules", "inbound NAT")):
            for item in self._items(part):
                properties = item.get("properties", {})
                if names.owner(item["name"]) == exposure.prefix or (
                    _id(properties.get("frontendIPConfiguration")) != frontend.lower()
                ):
                    continue
                mine = taken.get((str(properties.get("protocol")).lower(), properties.get("frontendPort", -1)))
                if mine:
                    raise InvalidService(
                        f"service port {mine.port} is trying to consume the port {mine.port} which is being referenced "
                        f"by an existing {noun} rule {item['name']} with the same protocol {mine.protocol} and "
                        f"frontend IP config with ID {frontend}"
                    )

    def _rule(self, rule: Rule, exposure: Exposure, frontend: str) -> Document:
        return {
            "frontendIPConfiguration": {"id": frontend},
            "backendAddressPool": {"id": f"{self.id}/backendAddressPools/{names.POOL}"},
            "probe": {"id": f"{self.id}/probes/{rule.probe}"} if rule.probe else None,
            "protocol": rule.protocol,
            "frontendPort": rule.port,
            "backendPort": rule.backend_port,
            "enableFloatingIP": exposure.floating,
            "enableTcpReset": rule.protocol != "Udp",
            "disableOutboundSnat": self._outbound_rule,
            "idleTimeoutInMinutes": exposure.idle_minutes,
            "loadDistribution": "SourceIP" if exposure.affinity else "Default",
        }

    def _put(self, part: str, prefix: str, wanted: Iterable[Document]) -> None:
        """Let exactly `wanted` be what the Service has in this part. Equal ones stay as and where they are."""
        missing = {item["name"]: item for item in wanted}
        result = []
        for item in self._items(part):
            if names.owner(item["name"]) != prefix:
                result.append(item)
                continue
            new = missing.pop(item["name"], None)
            if new is not None and same(item.get("properties", {}), new["properties"]):
                result.append(item)
                continue
            self.changed = True
            if new is not None:
                result.append(_plain(new))
        self.changed = self.changed or bool(missing)
        self.document["properties"][part] = result + [_plain(item) for item in missing.values()]


def _serves(frontend: Document, exposure: Exposure, target: Target) -> bool:
    """Whether a frontend has just the address that is wanted. An internal one's name says whose it is, unless its
    address was asked for: then it may be shared."""
    properties = frontend.get("properties", {})
    if target.public_ip:
        return _id(properties.get("publicIPAddress")) == target.public_ip.lower()
    if _id(properties.get("subnet")) != str(target.subnet).lower():
        return False
    if target.address:
        return bool(properties.get("privateIPAddress") == target.address)
    return names.owner(frontend["name"]) == exposure.prefix


def _probe(probe: Probe) -> Document:
    return {
        "protocol": probe.protocol,
        "port": probe.port,
        "requestPath": probe.path,
        "intervalInSeconds": probe.interval,
        "probeThreshold": probe.threshold,
    }


def same(stored: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there: more may be (what Azure adds), a wanted None is an absence, ids and the
    values of enumerations are compared without case."""
    if wanted is None:
        return stored is None
    if isinstance(wanted, dict):
        return isinstance(stored, dict) and all(same(stored.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, str):
        return isinstance(stored, str) and stored.lower() == wanted.lower()
    return bool(stored == wanted)


def _plain(item: Document) -> Document:
    return {**item, "properties": {k: v for k, v in item["properties"].items() if v is not None}}


def _id(reference: Document | None) -> str:
    return str((reference or {}).get("id", "")).lower()
