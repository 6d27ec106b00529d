"""What a Service asks of the cloud, read from its spec and annotations.

https://learn.microsoft.com/azure/aks/load-balancer-standard#customizations-via-kubernetes-annotations
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Literal

from sorairo.cluster.cloud import names

Object = dict[str, Any]
Protocol = Literal["TCP", "UDP", "SCTP"]

IDLE_MINUTES = (4, 30)
PROBE_SECONDS, PROBES = 5, 2
"""Interval and threshold of a probe, unless the Service says otherwise; also the least of either."""
PROBE_TOTAL = 120
"""Seconds that interval times threshold must stay below."""


class InvalidService(Exception):
    """The Service asks for something that cannot be; `str(e)` goes into its event."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Properties of a probe, as the load balancer's document has them."""

    name: str
    protocol: Literal["Tcp", "Http", "Https"]
    port: int
    path: str | None = None
    interval: int = PROBE_SECONDS
    threshold: int = PROBES


@dataclass(frozen=True, slots=True)
class Rule:
    """Of the load balancer, without its frontend."""

    name: str
    protocol: Literal["Tcp", "Udp", "All"]
    port: int
    backend_port: int
    probe: str | None
    """Name of one of the Service's probes."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Who may connect."""

    ranges: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    internet: bool = True
    deny_others: bool = False
    """Also those that the network's default rules let in."""
    invalid: tuple[str, ...] = ()
    """Ranges that are none: the Service's event tells, and everyone not named is denied."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """A Service of type LoadBalancer."""

    key: str
    """`namespace/name`."""
    prefix: str
    internal: bool
    subnet: str | None
    """Name of the subnet an internal one's address is of; None: the nodes' own."""
    address: str | None
    """The address asked for."""
    pip_name: str | None
    """A public IP that must exist already."""
    pip_group: str | None
    pip_tags: tuple[tuple[str, str], ...]
    dns_label: str | None
    """'' takes the label away, None leaves it as it is."""
    more_addresses: tuple[str, ...]
    floating: bool
    affinity: bool
    """A client's connections go to one node."""
    idle_minutes: int
    rules: tuple[Rule, ...]
    probes: tuple[Probe, ...]
    ports: tuple[tuple[str, int], ...]
    """What must be let in: (Tcp, Udp or `*`, port), in the Service's order."""
    sources: Sources

    @property
    def frontend(self) -> str:
        return names.frontend(self.prefix, self.subnet)

    @property
    def balancer(self) -> str:
        return names.INTERNAL if self.internal else names.PUBLIC


def notes_of(service: Object) -> dict[str, str]:
    return service["metadata"].get("annotations") or {}


def key_of(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def wanted(service: Object) -> bool:
    """Whether it is to have a load balancer, and one of ours (`loadBalancerClass` names somebody else's)."""
    spec = service.get("spec", {})
    return (
        spec.get("type") == "LoadBalancer"
        and not spec.get("loadBalancerClass")
        and not service["metadata"].get("deletionTimestamp")
    )


def held(service: Object) -> bool:
    """Whether it may still have something in the cloud: we put the finalizer on before anything is made."""
    return names.FINALIZER in (service["metadata"].get("finalizers") or [])


def parse(service: Object) -> Exposure:
    """Raises InvalidService."""
    spec, notes = service["spec"], notes_of(service)
    if _true(notes, names.A_SHARED_RULE):
        # Security rules are shared between Services alike anyway; one that is named by hand has no use.
        raise InvalidService(f"sorairo does not implement the annotation {names.A_SHARED_RULE} yet")
    for unbuilt in (names.A_PRIVATE_LINK, names.A_PIP_PREFIX):
        if notes.get(unbuilt, "").strip().lower() not in ("", "false"):
            raise InvalidService(f"sorairo does not implement the annotation {unbuilt} yet")
    if (spec.get("ipFamilies") or ["IPv4"])[0] != "IPv4" or len(spec.get("ipFamilies") or []) > 1:
        raise InvalidService("sorairo does not implement IPv6 addresses of load balancers yet")
    internal = _true(notes, names.A_INTERNAL)
    subnet = (notes.get(names.A_SUBNET, "").strip() or None) if internal else None
    prefix = names.prefix(service["metadata"]["uid"])
    floating = not _true(notes, names.A_NO_FLOATING)
    probes, rules = _rules(service, prefix, subnet, floating, internal)
    return Exposure(
        key=key_of(service),
        prefix=prefix,
        internal=internal,
        subnet=subnet,
        address=_address(service),
        pip_name=notes.get(names.A_PIP_NAME, "").strip() or None,
        pip_group=notes.get(names.A_GROUP, "").strip() or None,
        pip_tags=_pairs(notes.get(names.A_PIP_TAGS, "")),
        dns_label=notes[names.A_DNS_LABEL].strip() if names.A_DNS_LABEL in notes else None,
        more_addresses=tuple(_split(notes.get(names.A_MORE_ADDRESSES, ""))),
        floating=floating,
        affinity=spec.get("sessionAffinity") == "ClientIP",
        idle_minutes=_idle(notes),
        rules=rules,
        probes=probes,
        ports=tuple(
            (_SECURITY[p.get("protocol", "TCP")], p["port" if floating else "nodePort"]) for p in spec["ports"]
        ),
        sources=_sources(spec, notes, internal),
    )


_TRANSPORT: dict[str, Literal["Tcp", "Udp"]] = {"TCP": "Tcp", "UDP": "Udp"}
_SECURITY = {"TCP": "Tcp", "UDP": "Udp", "SCTP": "*"}
_PROBE: dict[str, Literal["Tcp", "Http", "Https"]] = {"tcp": "Tcp", "http": "Http", "https": "Https"}


def _address(service: Object) -> str | None:
    notes = notes_of(service)
    text = notes.get(names.A_ADDRESS, "").strip() or service["spec"].get("loadBalancerIP") or ""
    if not text:
        return None
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise InvalidService(f"the load balancer address '{text}' is not an IPv4 address") from None


def _idle(notes: dict[str, str]) -> int:
    minutes = _number(notes, names.A_IDLE)
    if minutes is None:
        return IDLE_MINUTES[0]
    if not IDLE_MINUTES[0] <= minutes <= IDLE_MINUTES[1]:
        raise InvalidService(
            f"error parsing idle timeout key: {names.A_IDLE}, err: idle timeout value must be a whole number "
            f"representing minutes between {IDLE_MINUTES[0]} and {IDLE_MINUTES[1]}, actual value: {minutes}"
        )
    return minutes


# --- rules and probes -------------------------------------------------------------------------------------


def _rules(
    service: Object, prefix: str, subnet: str | None, floating: bool, internal: bool
) -> tuple[tuple[Probe, ...], tuple[Rule, ...]]:
    spec, notes = service["spec"], notes_of(service)
    probes: list[Probe] = []
    local: Probe | None = None
    if spec.get("externalTrafficPolicy") == "Local" and spec.get("healthCheckNodePort"):
        # kube-proxy answers there: 200 while the node has endpoints of the Service, else 503.
        port = spec["healthCheckNodePort"]
        local = Probe(names.rule(prefix, subnet, "TCP", port), "Http", port, "/healthz")
        probes.append(local)
    if internal and _true(notes, names.A_HA_PORTS):
        first = spec["ports"][0]
        name = names.rule(prefix, subnet, first.get("protocol", "TCP"), first["port"])
        probe = local or next((p for port in spec["ports"] if (p := _probe(spec, notes, port, name))), None)
        probes += [probe] if probe and not local else []
        return tuple(probes), (Rule(name, "All", 0, 0, probe.name if probe else None),)
    rules = []
    for port in spec["ports"]:
        number, protocol = port["port"], port.get("protocol", "TCP")
        if _true(notes, names.port_annotation(number, "no_lb_rule")):
            continue
        if protocol not in _TRANSPORT:
            raise InvalidService("SCTP is only supported on internal load balancers with high availability ports")
        name = names.rule(prefix, subnet, protocol, number)
        probe = None
        if not _true(notes, names.port_annotation(number, "no_probe_rule")):
            own = names.probe_annotation("port", number) in notes
            probe = local if local and not own else _probe(spec, notes, port, name)
            if probe and probe is not local:
                probes.append(probe)
        backend = number if floating else int(port.get("nodePort") or 0)
        if not backend:
            raise InvalidService(f"port {number} has no node port, which it needs where floating IP is disabled")
        rules.append(Rule(name, _TRANSPORT[protocol], number, backend, probe.name if probe else None))
    return tuple(probes), tuple(rules)


def _probe(spec: Object, notes: dict[str, str], port: Object, name: str) -> Probe | None:
    """None where nothing can be probed: a UDP port says nothing, and one without a node port
    (`allocateLoadBalancerNodePorts: false`) is asked for at no node."""
    if port.get("protocol", "TCP") != "TCP":
        return None
    number = port["port"]

    def said(what: str, *, between: str | None = None) -> str | None:
        for text in (notes.get(names.probe_annotation(what, number)), between, notes.get(names.probe_annotation(what))):
            if text is not None and text.strip():
                return text.strip()
        return None

    protocol = _PROBE.get((said("protocol", between=port.get("appProtocol")) or "tcp").lower(), "Tcp")
    interval = _least(said("interval"), PROBE_SECONDS, "interval")
    threshold = _least(said("num-of-probe"), PROBES, "num-of-probe")
    if interval * threshold >= PROBE_TOTAL:
        raise InvalidService(
            f"failed to parse health probe config for port {number}: total probe should be less than {PROBE_TOTAL}, "
            "please adjust interval and number of probe accordingly"
        )
    path = (said("request-path") or "/") if protocol != "Tcp" else None
    asked = _probe_port(spec, notes, port)
    return Probe(name, protocol, asked, path, interval, threshold) if asked else None


def _probe_port(spec: Object, notes: dict[str, str], port: Object) -> int:
    """The port's own node port, 0 if it has none; or by annotation another port of the Service (its number or name), or
    any number."""
    annotation = names.probe_annotation("port", port["port"])
    text = notes.get(annotation, "").strip()
    if not text:
        return int(port.get("nodePort") or 0)
    for other in spec["ports"]:
        if text.lower() == str(other.get("name", "")).lower() or text == str(other["port"]):
            return int(other.get("nodePort") or 0)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise InvalidService(f"failed to parse annotation {annotation}: port {text} not found in service")
    return int(text)


def _least(text: str | None, least: int, what: str) -> int:
    if text is None:
        return least
    if not text.lstrip("-").isdigit() or int(text) < least:
        raise InvalidService(f"failed to parse health probe config: the minimum value of {what} is {least}: '{text}'")
    return int(text)


# --- who may connect --------------------------------------------------------------------------------------


def _sources(spec: Object, notes: dict[str, str], internal: bool) -> Sources:
    given = list(spec.get("loadBalancerSourceRanges") or [])
    annotated = [r for name in (names.A_RANGES, names.A_OLD_RANGES) for r in _split(notes.get(name, ""))]
    if given and annotated:
        raise InvalidService(f"cannot set both spec.LoadBalancerSourceRanges and service annotation {names.A_RANGES}")
    ranges, invalid = [], []
    for text in given or annotated:
        try:
            ranges.append(str(ipaddress.ip_network(text.strip())))
        except ValueError:  # Host bits set, or no network at all.
            invalid.append(text)
    # What is not IPv4 cannot come to an IPv4 address.
    ranges = [r for r in ranges if ":" not in r]
    tags = tuple(_split(notes.get(names.A_TAGS, "")))
    everyone = "0.0.0.0/0" in ranges
    internet = not tags and not invalid and (everyone or (not given and not annotated and not internal))
    deny = bool(invalid) or (bool(given or annotated) and _true(notes, names.A_DENY_OTHERS))
    return Sources(tuple(ranges), tags, internet, deny, tuple(invalid))


# --- reading ----------------------------------------------------------------------------------------------


def _true(notes: dict[str, str], name: str) -> bool:
    return notes.get(name, "").strip().lower() == "true"


def _split(text: str) -> list[str]:
    return [part for piece in text.split(",") if (part := piece.strip())]


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`a=b,c=d`."""
    pairs = (piece.split("=", 1) for piece in _split(text) if "=" in piece)
    return tuple((k.strip(), v.strip()) for k, v in pairs)


def _number(notes: dict[str, str], name: str) -> int | None:
    text = notes.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidService(f"failed to parse annotation {name}: '{text}' is not a whole number") from None
