"""The logs of a cluster, from all of its machines: what `sorairo logs` shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from sorairo.drivers.protocols import DriverError, Machines, MachineState


@dataclass(frozen=True, slots=True)
class Source:
    """One service's log. `label` is `kube-apiserver` for the control plane's, `NODE/kubelet` for a node's."""

    label: str
    machines: Machines
    machine: str
    service: str

    def lines(self, *, follow: bool, lines: int) -> AsyncIterator[str]:
        return self.machines.logs(self.machine, self.service, follow=follow, lines=lines)


def sources(state: MachineState, machines: Machines, node: str) -> list[Source]:
    """Of one machine. `node` is the node's name, '' for a control plane."""
    prefix = f"{node}/" if node else ""
    return [Source(prefix + p.service, machines, state.id, p.service) for p in state.processes]


def chosen(found: Iterable[Source], component: str) -> list[Source]:
    """Those a component means: a label, a node (all of it), or a service of every node. All, for ''."""
    wanted = component.lower().strip("/")
    return [
        s
        for s in found
        if not wanted or s.label.lower() == wanted or wanted in (s.label.lower().split("/")[0], s.service.lower())
    ]


async def tail(found: Sequence[Source], *, follow: bool, lines: int) -> AsyncIterator[bytes]:
    """Lines, each with its source's label before it when there are several: source by source, or with `follow` as
    they come, until the reader stops."""
    width = max((len(s.label) for s in found), default=0) if len(found) > 1 else 0

    def shown(source: Source, line: str) -> bytes:
        return f"{source.label:<{width}} | {line}\n".encode() if width else f"{line}\n".encode()

    if not follow:
        for source in found:
            async for text in source.lines(follow=False, lines=lines):
                yield shown(source, text)
        return
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1000)

    async def pump(source: Source) -> None:
        # A log that cannot be read on (its machine has just gone) has ended.
        with contextlib.suppress(OSError, DriverError):
            async for line in source.lines(follow=True, lines=lines):
                await queue.put(shown(source, line))
        await queue.put(None)

    tasks = [asyncio.create_task(pump(s)) for s in found]
    going = len(tasks)
    try:
        while going:
            line = await queue.get()
            if line is None:
                going -= 1
            else:
                yield line
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
