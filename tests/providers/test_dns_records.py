"""What may be in a record set, and how a zone file writes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_network.dns_records import KINDS, check, full_name, zone_name, zone_text

ZONE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/dnsZones/Contoso.com"

WRITTEN: list[tuple[str, dict[str, Any], str]] = [
    ("A", {"ipv4Address": "10.0.0.4"}, "10.0.0.4"),
    ("AAAA", {"ipv6Address": "2001:DB8::0:1"}, "2001:db8::1"),
    ("CAA", {"flags": 0, "tag": "issue", "value": "ca.example"}, '0 issue "ca.example"'),
    ("CNAME", {"cname": "Web.Example"}, "web.example."),
    ("CNAME", {"cname": "web.example."}, "web.example."),
    ("DS", {"keyTag": 1, "algorithm": 8, "digest": {"algorithmType": 2, "value": "AB cd"}}, "1 8 2 ABcd"),
    ("MX", {"preference": 10, "exchange": "mail.example"}, "10 mail.example."),
    ("NAPTR", {"order": 1, "preference": 2, "flags": "U", "services": "E2U+sip", "regexp": "!^.*$!sip:a@b!",
               "replacement": ""}, '1 2 "U" "E2U+sip" "!^.*$!sip:a@b!" .'),
    ("NS", {"nsdname": "ns.example"}, "ns.example."),
    ("PTR", {"ptrdname": "vm.example"}, "vm.example."),
    ("SRV", {"priority": 1, "weight": 2, "port": 5060, "target": "sip.example"}, "1 2 5060 sip.example."),
    ("TLSA", {"usage": 3, "selector": 1, "matchingType": 1, "certAssociationData": "00ff"}, "3 1 1 00ff"),
    ("TXT", {"value": ['say "hi"', "b\\c"]}, '"say \\034hi\\034" "b\\092c"'),
    ("TXT", {"value": ["ü\n"]}, '"\\195\\188\\010"'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "record", "text"), WRITTEN, ids=str)
def test_each_type_is_written_as_zone_files_have_it(kind: str, record: dict[str, Any], text: str) -> None:
    assert KINDS[kind].data(record) == text


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("A", {"ipv4Address": "10.0.0.256"}),
    ("A", {"ipv4Address": "::1"}),
    ("A", {}),
    ("AAAA", {"ipv6Address": "10.0.0.4"}),
    ("CAA", {"flags": 256, "tag": "issue", "value": "x"}),
    ("CAA", {"flags": 0, "tag": "else", "value": "x"}),
    ("CNAME", {"cname": '"quoted.example"'}),
    ("CNAME", {"cname": "a..b"}),
    ("CNAME", {"cname": "a b\n@ IN A 1.2.3.4"}),
    ("MX", {"preference": -1, "exchange": "mail.example"}),
    ("MX", {"preference": True, "exchange": "mail.example"}),
    ("NAPTR", {"flags": "x" * 256, "replacement": "."}),
    ("SRV", {"priority": 1, "weight": 2, "port": 65536, "target": "sip.example"}),
    ("TLSA", {"certAssociationData": "0g"}),
    ("TXT", {"value": "not a list"}),
    ("TXT", {"value": []}),
    ("TXT", {"value": ["x" * 256]}),
    ("TXT", {"value": ["x" * 255] * 17}),
]


@pytest.mark.parametrize(("kind", "record"), REFUSED, ids=str)
def test_what_is_no_such_record_is_refused(kind: str, record: dict[str, Any]) -> None:
    with pytest.raises(ArmError) as refused:
        KINDS[kind].data(record)
    assert refused.value.code == "BadRequest"


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"ARecords": []}, "TTL"),
        ({"TTL": 0}, "TTL"),
        ({"TTL": 2**31}, "TTL"),
        ({"TTL": "60"}, "TTL"),
        ({"TTL": 60, "MXRecords": [{"preference": 1, "exchange": "a.b"}]}, "MXRecords"),
        ({"TTL": 60, "ARecords": {"ipv4Address": "1.2.3.4"}}, "list"),
        ({"TTL": 60, "ARecords": ["1.2.3.4"]}, "objects"),
        ({"TTL": 60, "ARecords": [{"ipv4Address": "1.2.3.4"}] * 2}, "twice"),
        ({"TTL": 60, "ARecords": [{"ipv4Address": f"1.2.3.{n}"} for n in range(21)]}, "20"),
    ],
    ids=str,
)
def test_what_is_no_such_set_is_refused(properties: dict[str, Any], words: str) -> None:
    with pytest.raises(ArmError, match=words):
        check(KINDS["A"], properties, private=False)


def test_properties_are_known_in_any_case_and_what_is_only_shown_is_dropped() -> None:
    properties: dict[str, Any] = {
        "ttl": 60,
        "aRECORDS": [{"ipv4Address": "1.2.3.4"}],
        "fqdn": "x.",
        "CNAMERecord": None,
    }
    check(KINDS["A"], properties, private=False)
    assert properties == {"TTL": 60, "ARecords": [{"ipv4Address": "1.2.3.4"}]}


def test_names() -> None:
    assert zone_name("Contoso.com") == "contoso.com"
    assert [full_name(each, "contoso.com") for each in ("@", "www", "*", "*.a", "_sip._tcp", "A.b")] == [
        "contoso.com", "www.contoso.com", "*.contoso.com", "*.a.contoso.com", "_sip._tcp.contoso.com",
        "a.b.contoso.com",
    ]  # fmt: skip
    for wrong in ("", ".", "a.", "a..b", "a b", "a.*", "w*", "x" * 64, ".".join(["x" * 60] * 5), "-a", "a/../b"):
        with pytest.raises(ArmError, match="not valid for a record set"):
            full_name(wrong, "contoso.com")
    with pytest.raises(ArmError, match="does not have enough labels"):
        zone_name("contoso")
    with pytest.raises(ArmError, match="is invalid"):
        zone_name("conto so.com")


def record_set(name: str, kind: str, **properties: Any) -> Resource:
    return Resource(f"{ZONE}/{kind}/{name}", {"properties": properties})


SOA = record_set("@", "SOA", TTL=3600, SOARecord={
    "host": "ns1.example.", "email": "me@example.com", "serialNumber": 1, "refreshTime": 1, "retryTime": 2,
    "expireTime": 3, "minimumTTL": 4,
})  # fmt: skip


def test_a_zone_file_begins_with_its_soa_whose_serial_is_of_its_contents() -> None:
    sets = [record_set("www", "A", TTL=60, ARecords=[{"ipv4Address": "1.2.3.4"}, {"ipv4Address": "1.2.3.5"}]), SOA]
    text = zone_text("contoso.com", sets, private=False)
    first, *rest = text.splitlines()
    assert first.startswith("contoso.com. 3600 IN SOA ns1.example. me.example.com. ")
    assert first.endswith(" 1 2 3 4")
    assert rest == ["www.contoso.com. 60 IN A 1.2.3.4", "www.contoso.com. 60 IN A 1.2.3.5"]
    assert zone_text("contoso.com", sets[::-1], private=False) == text
    other = zone_text("contoso.com", [SOA], private=False)
    assert other.split()[6] != text.split()[6], "another zone has another serial"


@given(
    st.dictionaries(st.sampled_from(sorted(KINDS)), st.text(), max_size=3), st.text(), st.lists(st.text(max_size=300))
)
def test_no_text_of_a_client_makes_a_second_line(records: dict[str, str], name: str, strings: list[str]) -> None:
    """Whatever is in a set: it is refused, or is one line for each record."""
    sets = [SOA, record_set("x", "TXT", TTL=1, TXTRecords=[{"value": strings}])]
    for kind, text in records.items():
        record = {"ipv4Address": text, "exchange": text, "nsdname": text, "value": text, "tag": "issue", "cname": text}
        field = KINDS[kind].public
        sets.append(record_set("y", kind, TTL=1, **{field: record if KINDS[kind].single else [record]}))
    try:
        full_name(name, "contoso.com")
        text = zone_text("contoso.com", sets, private=False)
    except ArmError:
        return
    assert len(text.splitlines()) <= len(sets)
