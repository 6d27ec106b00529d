"""The daemon at its own address within other namespaces: doors open, close, and are opened anew."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from installation import free_port
from sorairo.doors import Doors
from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.protocols import DriverError, Leg
from sorairo.imds.listeners import Door
from sorairo.state import State
from sorairo.tls import ensure_certificates


async def test_a_door_opens_answers_and_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path / "state")
    state.make()
    ensure_certificates(state)
    links, port = HollowLinks(), free_port()
    certificate, key = state.server_certificate, state.server_key

    def door(says: str) -> Door:
        return Door("127.0.0.1", port, lambda name: PlainTextResponse(f"{says} {name}"), certificate, key)

    metadata = Door("127.0.0.1", free_port(), lambda name: PlainTextResponse("a token"))
    doors = Doors(links, [door("here")], [door("all of it"), metadata])
    with pytest.raises(DriverError):
        await doors.open("c")
    await links.ensure_leg(Leg("c", "/subscriptions/s/c", "c", "198.18.0.20"))
    trusted = ssl.create_default_context(cafile=str(state.ca))
    async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trusted) as inside:
        for namespace in (1, 2):  # The second is another, by the same name.
            monkeypatch.setattr(doors, "_inode", lambda name, number=namespace: number)
            assert not doors.is_open("c")
            await doors.open("c")
            await doors.open("c")
            assert doors.is_open("c")
            assert (await inside.get("/")).text == "here c"
            assert not doors.is_open("c", whole=True)
        await doors.open("c", whole=True)
        assert (await inside.get("/")).text == "all of it c"
        assert (await inside.get(f"http://127.0.0.1:{metadata.port}")).text == "a token"
        await doors.close_all()
        assert not doors.is_open("c")
        with pytest.raises(httpx.TransportError):
            await inside.get("/")
