"""Record sets as data: what may be in one, and how it is written in a zone file. For private and public zones alike.

https://learn.microsoft.com/azure/dns/dns-zones-records
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sorairo.engine.errors import ArmError
from sorairo.engine.types import Document, Resource

MOST_RECORDS = 20
"""Of one set. https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits"""
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MOST_TEXT = 4096

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A record type. `data` writes one record's data; it raises ArmError for what is no such record."""

    name: str
    private: str
    """The property of a private zone's record sets that holds the records; '' where there are none."""
    public: str
    """The property of a public zone's."""
    data: Callable[[Record], str]

    @property
    def single(self) -> bool:
        """Whether a set holds one record, as an object, rather than a list of them."""
        return self.name in ("CNAME", "SOA")

    def field(self, private: bool) -> str:
        return self.private if private else self.public

    def records(self, properties: Document, private: bool) -> list[Record]:
        found = properties.get(self.field(private))
        return ([found] if found else []) if self.single else list(found or [])


def bad(message: str, target: str | None = None) -> ArmError:
    return ArmError("BadRequest", message, target=target)


# --- names ----------------------------------------------------------------------------------------------


def zone_name(name: str) -> str:
    """As zones are compared and served. Raises ArmError when it is no name for one."""
    labels = name.split(".")
    if len(labels) < 2:
        raise bad(
            f"The zone name '{name}' does not have enough labels. Zone names must have two or more labels.", "name"
        )
    return domain(name)


def domain(name: Any) -> str:
    """A name in full, in lower case, without the dot at its end. Raises ArmError when it is none."""
    text = str(name).removesuffix(".")
    if not isinstance(name, str) or len(text) > 253 or not all(_LABEL.fullmatch(each) for each in text.split(".")):
        raise bad(f"The domain name '{name}' is invalid.")
    return text.lower()


def full_name(relative: str, zone: str) -> str:
    """The name of a record set, `@` or relative to its zone. Raises ArmError when it is none."""
    if relative == "@":
        return zone
    labels = relative.removeprefix("*.").split(".") if relative != "*" else []
    whole = f"{relative}.{zone}"
    if len(whole) > 253 or not all(_LABEL.fullmatch(each) for each in labels):
        raise bad(
            f"The name '{relative}' is not valid for a record set: it is '@', or labels of letters, digits, '-' and "
            f"'_' of up to 63 characters with dots between them, the first of which may be '*'; and no longer than 253 "
            f"characters together with '{zone}'.",
            "name",
        )
    return whole.lower()


# --- data, type by type -----------------------------------------------------------------------------------


def _absolute(record: Record, key: str) -> str:
    return domain(_given(record, key)) + "."


def _given(record: Record, key: str) -> Any:
    if (value := record.get(key)) in (None, ""):
        raise bad(f"The record's '{key}' is missing.", key)
    return value


def _number(record: Record, key: str, most: int = 65535) -> int:
    value = record.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise bad(f"'{value}' is not valid for '{key}': it is a number from 0 to {most}.", key)
    return value


def _address(version: int) -> Callable[[Record], str]:
    key = f"ipv{version}Address"

    def data(record: Record) -> str:
        value = _given(record, key)
        try:
            found = ipaddress.ip_address(str(value))
        except ValueError:
            found = None
        if found is None or found.version != version:
            raise bad(f"The IPv{version} address '{value}' is invalid.", key)
        return str(found)

    return data


def _quoted(text: Any, key: str, most: int = 255) -> str:
    """A string of RFC 1035."""
    raw = str(text).encode()
    if not isinstance(text, str) or len(raw) > most:
        raise bad(f"A string of '{key}' is text of at most {most} bytes.", key)
    shown = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in raw)
    return f'"{"".join(shown)}"'


def _text(record: Record) -> str:
    strings = record.get("value")
    if not isinstance(strings, list) or not strings:
        raise bad("The record's 'value' is a list of strings, and must not be empty.", "value")
    if sum(len(str(each).encode()) for each in strings) > _MOST_TEXT:
        raise bad(f"The strings of a TXT record have at most {_MOST_TEXT} bytes together.", "value")
    return " ".join(_quoted(each, "value") for each in strings)


def _hex(record: Record, key: str) -> str:
    value = str(_given(record, key)).replace(" ", "")
    if not re.fullmatch(r"([0-9A-Fa-f]{2})+", value):
        raise bad(f"'{value}' is not valid for '{key}': it is hexadecimal.", key)
    return value


def _caa(record: Record) -> str:
    if (tag := record.get("tag")) not in ("issue", "issuewild", "iodef", "contactemail", "contactphone"):
        raise bad(f"'{tag}' is not valid for 'tag'.", "tag")
    return f"{_number(record, 'flags', 255)} {tag} {_quoted(record.get('value', ''), 'value', 1024)}"


def _ds(record: Record) -> str:
    digest = record.get("digest") or {}
    numbers = f"{_number(record, 'keyTag')} {_number(record, 'algorithm', 255)} {_number(digest, 'algorithmType', 255)}"
    return f"{numbers} {_hex(digest, 'value')}"


def _mx(record: Record) -> str:
    return f"{_number(record, 'preference')} {_absolute(record, 'exchange')}"


def _naptr(record: Record) -> str:
    texts = " ".join(_quoted(record.get(key, ""), key) for key in ("flags", "services", "regexp"))
    replacement = record.get("replacement") or "."
    last = "." if replacement == "." else domain(replacement) + "."
    return f"{_number(record, 'order')} {_number(record, 'preference')} {texts} {last}"


def _srv(record: Record) -> str:
    numbers = " ".join(str(_number(record, key)) for key in ("priority", "weight", "port"))
    return f"{numbers} {'.' if record.get('target') == '.' else _absolute(record, 'target')}"


def _tlsa(record: Record) -> str:
    numbers = " ".join(str(_number(record, key, 255)) for key in ("usage", "selector", "matchingType"))
    return f"{numbers} {_hex(record, 'certAssociationData')}"


def _soa(record: Record) -> str:
    minimum = next((key for key in ("minimumTTL", "minimumTtl") if key in record), "minimumTTL")
    times = " ".join(
        str(_number(record, key, 2**31 - 1)) for key in ("refreshTime", "retryTime", "expireTime", minimum)
    )
    email = domain(str(_given(record, "email")).replace("@", "."))
    return f"{_absolute(record, 'host')} {email}. {{serial}} {times}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("A", "aRecords", "ARecords", _address(4)),
        Kind("AAAA", "aaaaRecords", "AAAARecords", _address(6)),
        Kind("CAA", "", "caaRecords", _caa),
        Kind("CNAME", "cnameRecord", "CNAMERecord", lambda record: _absolute(record, "cname")),
        Kind("DS", "", "DSRecords", _ds),
        Kind("MX", "mxRecords", "MXRecords", _mx),
        Kind("NAPTR", "", "NAPTRRecords", _naptr),
        Kind("NS", "", "NSRecords", lambda record: _absolute(record, "nsdname")),
        Kind("PTR", "ptrRecords", "PTRRecords", lambda record: _absolute(record, "ptrdname")),
        Kind("SOA", "soaRecord", "SOARecord", _soa),
        Kind("SRV", "srvRecords", "SRVRecords", _srv),
        Kind("TLSA", "", "TLSARecords", _tlsa),
        Kind("TXT", "txtRecords", "TXTRecords", _text),
    )
}


def check(kind: Kind, properties: Document, private: bool) -> None:
    """Hold a record set's properties to its type, and their names to Azure's case. Raises ArmError."""
    known = {each.field(private).lower(): each.field(private) for each in KINDS.values() if each.field(private)}
    ttl = "ttl" if private else "TTL"
    known |= {key.lower(): key for key in (ttl, "metadata", "targetResource", "trafficManagementProfile")}
    for key in list(properties):
        if (right := known.get(key.lower())) is not None:
            properties[right] = properties.pop(key)
        else:  # fqdn and the like, which clients send back
            del properties[key]
    for other in KINDS.values():
        field = other.field(private)
        if field and other is not kind:
            if properties.get(field):
                raise bad(f"A record set of type {kind.name} has no '{field}'.", field)
            properties.pop(field, None)
    seconds = properties.get(ttl)
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= 2**31 - 1:
        raise bad(f"The TTL of a record set is a number of seconds from 1 to {2**31 - 1}, not '{seconds}'.", ttl)
    field = kind.field(private)
    if not isinstance(properties.get(field) or [], dict if kind.single and properties.get(field) else list):
        raise bad(f"'{field}' is {'an object' if kind.single else 'a list'}.", field)
    records = kind.records(properties, private)
    if not all(isinstance(each, dict) for each in records):
        raise bad(f"The records of '{field}' are objects.", field)
    if len(records) > MOST_RECORDS:
        raise bad(f"A record set has at most {MOST_RECORDS} records.", field)
    lines = [kind.data(each) for each in records]
    if len({*lines}) < len(lines):
        raise bad(f"The record set has the record '{next(x for x in lines if lines.count(x) > 1)}' twice.", field)
    if not kind.single:
        properties.setdefault(field, [])


def zone_text(zone: str, sets: Iterable[Resource], private: bool, more: Iterable[str] = ()) -> str:
    """The zone file of a zone's record sets, the SOA first. `more`: lines besides.

    The serial is made of what the zone holds, so that a server knows a new one; the one that clients see does not
    change by itself, as on Azure.
    """
    soa, lines = "", list(more)
    for each in sets:
        kind = KINDS[each.rid.type.rsplit("/", 1)[1].upper()]
        ttl = each.properties.get("ttl" if private else "TTL", 3600)
        name = full_name(each.rid.name, zone)
        for record in kind.records(each.properties, private):
            line = f"{name}. {ttl} IN {kind.name} {kind.data(record)}\n"
            soa, lines = (line, lines) if kind.name == "SOA" else (soa, [*lines, line])
    rest = "".join(sorted(lines))
    return soa.format(serial=zlib.crc32((soa + rest).encode())) + rest
