"""https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-cidr"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit, urlunsplit

from sorairo.templates.functions.registry import Invocation, function
from sorairo.templates.values import Value

Network = IPv4Network | IPv6Network


def _network(call: Invocation) -> Network:
    try:
        return ip_network(call.text(0), strict=False)
    except ValueError:
        raise call.wrong(f"expects a network such as '10.0.0.0/16', and got '{call.text(0)[:60]}'") from None


@function("parseCidr", least=1, most=1)
def parse_cidr(call: Invocation) -> Value:
    net = _network(call)
    first, last = int(net.network_address), int(net.broadcast_address)
    few = net.num_addresses <= 2  # RFC 3021: both are hosts
    if net.version == 4:
        usable = (first, last) if few else (first + 1, last - 1)
        return {
            "network": str(net.network_address),
            "netmask": str(net.netmask),
            "broadcast": str(net.broadcast_address),
            "firstUsable": str(type(net.network_address)(usable[0])),
            "lastUsable": str(type(net.network_address)(usable[1])),
            "cidr": net.prefixlen,
        }
    return {
        "network": str(net.network_address),
        "netmask": str(net.netmask),
        "firstUsable": str(net.network_address),
        "lastUsable": str(net.broadcast_address),
        "cidr": net.prefixlen,
    }


@function("cidrSubnet", least=3, most=3)
def cidr_subnet(call: Invocation) -> Value:
    net, size, index = _network(call), call.integer(1), call.integer(2)
    if not net.prefixlen <= size <= net.max_prefixlen:
        raise call.wrong(f"expects a prefix from {net.prefixlen} to {net.max_prefixlen}, and got {size}")
    if not 0 <= index < 1 << (size - net.prefixlen):
        raise call.wrong(f"finds no subnet {index} of size /{size} in '{net}'")
    start = int(net.network_address) + (index << (net.max_prefixlen - size))
    return f"{type(net.network_address)(start)}/{size}"


@function("cidrHost", least=2, most=2)
def cidr_host(call: Invocation) -> Value:
    """Host 0 is the first usable address, after the network's own."""
    net, index = _network(call), call.integer(1)
    offset = 0 if net.num_addresses <= 2 else 1
    last = net.num_addresses - 1 - (offset if net.version == 4 else 0)
    if not 0 <= index + offset <= last:
        raise call.wrong(f"finds no host {index} in '{net}'")
    return str(net.network_address + index + offset)


@function("parseUri", least=1, most=1)
def parse_uri(call: Invocation) -> Value:
    try:
        uri = urlsplit(call.text(0))
        port = uri.port
    except ValueError:
        raise call.wrong("expects a URI") from None
    return {
        "scheme": uri.scheme,
        "host": uri.hostname or "",
        "port": port or {"https": 443, "http": 80}.get(uri.scheme, -1),
        "path": uri.path,
        "query": f"?{uri.query}" if uri.query else "",
    }


@function("buildUri", least=1, most=1)
def build_uri(call: Invocation) -> Value:
    parts = {k.lower(): v for k, v in call.object(0).items()}
    host = str(parts.get("host", ""))
    if type(parts.get("port")) is int and parts["port"] > 0:
        host += f":{parts['port']}"
    query = str(parts.get("query", "")).removeprefix("?")
    return urlunsplit((str(parts.get("scheme", "https")), host, str(parts.get("path", "")), query, ""))
