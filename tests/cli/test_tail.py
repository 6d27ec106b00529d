"""A cluster's logs, merged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from sorairo.drivers.protocols import DriverError, Machines, MachineState, Process
from sorairo.tail import Source, chosen, sources, tail


class Written:
    """Logs as they are; followed ones wait for more until told to end."""

    def __init__(self, logs: dict[tuple[str, str], list[str]]) -> None:
        self.written = logs
        self.end = asyncio.Event()
        self.closed = 0

    async def logs(self, machine: str, service: str, *, follow: bool = False, lines: int = 100) -> AsyncIterator[str]:
        try:
            for line in self.written[machine, service][-lines:]:
                yield line
            if follow:
                await self.end.wait()
        finally:
            self.closed += 1


def state(id: str, *services: str) -> MachineState:
    return MachineState(id, f"/owner/{id}", "", tuple(Process(s, 1, True, 0) for s in services))


def made(logs: dict[tuple[str, str], list[str]]) -> tuple[Written, list[Source]]:
    written = Written(logs)
    machines = cast(Machines, written)
    return written, [
        *sources(state("cp", "etcd", "kube-apiserver"), machines, ""),
        *sources(state("n0", "containerd", "kubelet"), machines, "aks-0"),
    ]


LOGS = {
    ("cp", "etcd"): ["e1", "e2"],
    ("cp", "kube-apiserver"): ["a1"],
    ("n0", "containerd"): [],
    ("n0", "kubelet"): ["k1"],
}


@pytest.mark.parametrize(
    ("component", "labels"),
    [
        ("", ["etcd", "kube-apiserver", "aks-0/containerd", "aks-0/kubelet"]),
        ("etcd", ["etcd"]),
        ("KUBELET", ["aks-0/kubelet"]),
        ("aks-0", ["aks-0/containerd", "aks-0/kubelet"]),
        ("aks-0/kubelet", ["aks-0/kubelet"]),
        ("kube", []),
    ],
)
def test_components_by_label_node_or_service(component: str, labels: list[str]) -> None:
    _, found = made(LOGS)
    assert [s.label for s in chosen(found, component)] == labels


async def test_one_source_is_shown_as_it_is_and_several_with_their_names() -> None:
    _, found = made(LOGS)
    assert [line async for line in tail(found[:1], follow=False, lines=1)] == [b"e2\n"]
    assert [line async for line in tail(found, follow=False, lines=9)] == [
        b"etcd             | e1\n",
        b"etcd             | e2\n",
        b"kube-apiserver   | a1\n",
        b"aks-0/kubelet    | k1\n",
    ]


async def test_following_ends_when_every_log_does() -> None:
    written, found = made(LOGS)
    lines = []
    async for line in tail(found, follow=True, lines=9):
        lines.append(line)
        if len(lines) == 4:
            written.end.set()
    assert sorted(line.split(b"| ")[1] for line in lines) == [b"a1\n", b"e1\n", b"e2\n", b"k1\n"]
    assert written.closed == 4


async def test_a_reader_who_leaves_closes_every_log() -> None:
    written, found = made(LOGS)
    stream: Any = tail(found, follow=True, lines=9)
    await anext(stream)
    await stream.aclose()
    assert written.closed == 4


async def test_a_machine_that_goes_ends_its_log_alone() -> None:
    class Gone(Written):
        async def logs(
            self, machine: str, service: str, *, follow: bool = False, lines: int = 100
        ) -> AsyncIterator[str]:
            yield "last words"
            raise DriverError("the machine is gone")

    machines = cast(Machines, Gone({}))
    found = sources(state("n0", "kubelet", "containerd"), machines, "aks-0")
    async with asyncio.timeout(5):
        assert len([line async for line in tail(found, follow=True, lines=9)]) == 2
