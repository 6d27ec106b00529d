"""What kube-proxy has told a node's kernel, as `nft` shows it: texts of Kubernetes 1.37."""

from __future__ import annotations

import pytest

from sorairo.kube_proxy import Sent, sent

NODE, CLIENT = "10.224.0.4", "203.0.113.9"
MAPS = {
    "service-ips": {
        "198.18.0.18 . tcp . 80": "goto external-PFISGYVC-default/web/tcp/",
        "198.18.0.19 . tcp . 80": "goto external-O7JKBUXF-default/local/tcp/",
        "198.18.0.20 . tcp . 80": "goto external-2D3BBX4N-default/ranges/tcp/",
        "10.0.0.10 . udp . 53": "goto service-FY5PMXPG-kube-system/kube-dns/udp/dns",
    },
    "no-endpoint-services": {"198.18.0.21 . tcp . 80": "goto reject-chain"},
    "firewall-ips": {"198.18.0.20 . tcp . 80": "goto firewall-2D3BBX4N-default/ranges/tcp/"},
}
BOTH = "meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.224.0.37 . 80, 1 : 10.224.0.6 . 80 }"
CHAINS = {
    "service-PFISGYVC-default/web/tcp/": [BOTH],
    "external-PFISGYVC-default/web/tcp/": [
        'meta mark set meta mark | 0x00004000 comment "masquerade"',
        "goto service-PFISGYVC-default/web/tcp/",
    ],
    "external-O7JKBUXF-default/local/tcp/": [
        'fib saddr type local meta mark set meta mark | 0x00004000 comment "masquerade local traffic"',
        'fib saddr type local goto service-PFISGYVC-default/web/tcp/ comment "short-circuit local traffic"',
        "goto local-O7JKBUXF-default/local/tcp/",
    ],
    "local-O7JKBUXF-default/local/tcp/": ["meta l4proto tcp dnat to 10.224.0.6:80"],
    "external-2D3BBX4N-default/ranges/tcp/": ["goto service-PFISGYVC-default/web/tcp/"],
    "firewall-2D3BBX4N-default/ranges/tcp/": ["ip saddr != { 10.0.0.0/8, 192.0.2.1-192.0.2.9 } drop"],
    "service-FY5PMXPG-kube-system/kube-dns/udp/dns": ["meta l4proto udp dnat to 10.224.0.36:53"],
}
WEB = (("10.224.0.37", 80), ("10.224.0.6", 80))


async def nft(words: str) -> str | None:
    verb, *rest = words.split(" ", 4)
    if verb == "list":
        rules = CHAINS.get(rest[-1])
        return rules and "\n".join(
            ["table ip kube-proxy {", f"\tchain {rest[-1]} {{", *(f"\t\t{r}" for r in rules), "}"]
        )
    name, _, key = words.removeprefix("get element ip kube-proxy ").partition(" ")
    key = key.strip("{} ")
    target = MAPS[name].get(key)
    comment = ' comment "default/none"' if name == "no-endpoint-services" else ""
    return (
        f"table ip kube-proxy {{\n\tmap {name} {{\n\t\telements = {{ {key}{comment} : {target} }}\n" if target else None
    )


@pytest.mark.parametrize(
    ("reason", "source", "destination", "wanted"),
    [
        ("any of a Service's, as the node", CLIENT, "198.18.0.18", Sent("default/web", WEB, True)),
        ("only its own", CLIENT, "198.18.0.19", Sent("default/local", (("10.224.0.6", 80),))),
        ("the node itself, to any", NODE, "198.18.0.19", Sent("default/local", WEB, True)),
        ("in its ranges", "10.1.2.3", "198.18.0.20", Sent("default/ranges", WEB)),
        ("in the other range", "192.0.2.4", "198.18.0.20", Sent("default/ranges", WEB)),
        ("in none of its ranges", CLIENT, "198.18.0.20",
         Sent("default/ranges", refusal=f"{CLIENT} is in none of loadBalancerSourceRanges")),
        ("nobody", CLIENT, "198.18.0.21", Sent("default/none", refusal="rejected: the Service has no endpoint")),
        ("no Service", CLIENT, "198.18.0.22", None),
    ],
)  # fmt: skip
async def test_where_a_packet_is_sent(reason: str, source: str, destination: str, wanted: Sent | None) -> None:
    assert await sent(nft, source, NODE, destination, "tcp", 80) == wanted, reason


async def test_datagrams_too() -> None:
    assert await sent(nft, CLIENT, NODE, "10.0.0.10", "udp", 53) == Sent("kube-system/kube-dns", (("10.224.0.36", 53),))
