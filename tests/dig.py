"""Questions to name servers, as packets: enough of RFC 1035 for tests to see what is really answered."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "CAA": 257}
CODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}
Make = Callable[[int], socket.socket]
"""Makes an unconnected IPv4 socket of a kind, wherever the question comes from."""


@dataclass(frozen=True)
class Answer:
    code: str
    records: tuple[tuple[str, str, int, str], ...] = ()
    """Name, type, TTL, data as a zone file writes it."""

    @property
    def data(self) -> list[str]:
        return sorted(data for *_, data in self.records)


def _make(kind: int) -> socket.socket:
    return socket.socket(socket.AF_INET, kind)


def ask(server: str, name: str, type: str = "A", *, make: Make = _make, tcp: bool = False, wait: float = 3) -> Answer:
    """Raises OSError when nothing answers."""
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    question = b"".join(bytes([len(each)]) + each for each in labels) + struct.pack(">xHH", TYPES[type], 1)
    packet = struct.pack(">HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question
    with make(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(wait)
        sock.connect((server, 53))
        if tcp:
            sock.sendall(struct.pack(">H", len(packet)) + packet)
            with sock.makefile("rb") as stream:
                reply = stream.read(struct.unpack(">H", stream.read(2))[0])
        else:
            sock.send(packet)
            reply = sock.recv(4096)
    _, flags, _, answers, _, _ = struct.unpack(">HHHHHH", reply[:12])
    at, found = 12 + len(question), []
    for _ in range(answers):
        owner, at = _name(reply, at)
        number, _, ttl, length = struct.unpack(">HHIH", reply[at : at + 10])
        kind = next((k for k, v in TYPES.items() if v == number), str(number))
        found.append((owner, kind, ttl, _data(reply, at + 10, length, kind)))
        at += 10 + length
    return Answer(CODES.get(flags & 15, str(flags & 15)), tuple(found))


async def answers(wanted: Callable[[Answer], bool], *question: str, make: Make = _make, within: float = 10) -> Answer:
    """Ask until the answer is as wanted; zones are read anew every half second."""
    until = time.monotonic() + within
    while True:
        try:
            answer = await asyncio.to_thread(lambda: ask(*question, make=make, wait=1))
            if wanted(answer):
                return answer
            last: object = answer
        except OSError as error:
            last = error
        assert time.monotonic() < until, f"{question}: {last}"
        await asyncio.sleep(0.05)


def _name(packet: bytes, at: int) -> tuple[str, int]:
    labels, end = [], None
    while (length := packet[at]) != 0:
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | packet[at + 1]
            continue
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels) + ".", end or at + 1


def _data(packet: bytes, at: int, length: int, kind: str) -> str:
    raw = packet[at : at + length]
    match kind:
        case "A":
            return socket.inet_ntoa(raw)
        case "AAAA":
            return socket.inet_ntop(socket.AF_INET6, raw)
        case "NS" | "CNAME" | "PTR":
            return _name(packet, at)[0]
        case "MX":
            return f"{struct.unpack('>H', raw[:2])[0]} {_name(packet, at + 2)[0]}"
        case "SRV":
            return f"{' '.join(map(str, struct.unpack('>HHH', raw[:6])))} {_name(packet, at + 6)[0]}"
        case "TXT":
            parts, place = [], 0
            while place < len(raw):
                parts.append(raw[place + 1 : place + 1 + raw[place]].decode())
                place += 1 + raw[place]
            return "|".join(parts)
        case "SOA":
            host, at = _name(packet, at)
            email, at = _name(packet, at)
            return f"{host} {email} {' '.join(map(str, struct.unpack('>IIIII', packet[at : at + 20])))}"
        case _:
            return raw.hex()
