"""Microsoft.Compute/virtualMachines: a machine by itself, in the network interface that its document names.

https://learn.microsoft.com/rest/api/compute/virtual-machines
A scale set's instance without a scale set: the same walls, sizes and metadata. The interface is a resource of its own,
which finds out by itself that it has a machine to be in; the machine waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sorairo.drivers.protocols import File, Machine, Machines, MachineState, Service, digest
from sorairo.engine.errors import ArmError, Retry
from sorairo.engine.ids import host_name
from sorairo.engine.types import Action, Context, Document, Reader, Resource, ResourceType, Step
from sorairo.providers import identities
from sorairo.providers.capacity import VIRTUAL_MACHINE
from sorairo.providers.microsoft_compute import cloud_config
from sorairo.providers.microsoft_compute.instances import resolver
from sorairo.providers.microsoft_compute.machine_admission import MachineAdmission, nic_id, nic_in_use
from sorairo.providers.microsoft_compute.run_command import Commands
from sorairo.providers.microsoft_compute.sizes import find_size
from sorairo.providers.microsoft_compute.versions import API_VERSIONS
from sorairo.providers.microsoft_compute.views import instance_view
from sorairo.providers.own_identity import OwnIdentity
from sorairo.providers.principals import Principals

NIC = "Microsoft.Network/networkInterfaces"
AGENT = "/var/lib/waagent/agent"
KEYS = "/var/lib/waagent/authorized_keys"
_AGENT = """\
# Makes the administrator that the virtual machine was asked for, once; what is changed afterwards stays.
set -e
user=$1
if [ ! -e /var/lib/waagent/provisioned ]; then
  grep -q "^$user:" /etc/passwd || echo "$user:x:1000:1000::/home/$user:/bin/sh" >>/etc/passwd
  grep -q "^$user:" /etc/group || echo "$user:x:1000:" >>/etc/group
  mkdir -p "/home/$user/.ssh"
  cp /var/lib/waagent/authorized_keys "/home/$user/.ssh/authorized_keys"
  chmod 700 "/home/$user/.ssh"
  chmod 600 "/home/$user/.ssh/authorized_keys"
  chown -R 1000:1000 "/home/$user"
  touch /var/lib/waagent/provisioned
fi
exec sleep infinity
"""
"""What Azure's agent does in a machine (https://learn.microsoft.com/azure/virtual-machines/extensions/agent-linux), as
far as it is asked here. It goes on, as the sign that the machine runs."""


@dataclass(frozen=True, slots=True)
class Actual:
    nic: Resource | None
    machine: MachineState | None
    desired: Machine | None = None
    """None until the interface is there for it."""
    identity: str | None = None
    """Object id of the principal it is itself, as noted."""

    @property
    def runs(self) -> bool:
        return self.machine is not None and any(p.pid for p in self.machine.processes)


class MachineReconciler:
    def __init__(self, machines: Machines, principals: Principals) -> None:
        self._machines = machines
        self._identity = OwnIdentity(principals)

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        nic = await ctx.get(nic_id(resource))
        state = (await self._machines.observe_machines()).get(host_name(resource.id))
        desired = None if resource.deleting else desired_machine(resource, nic)
        return Actual(nic, state, desired, OwnIdentity.noted(resource))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            return self._removal(resource, actual)
        if identity := self._identity.plan(resource, actual.identity):
            return identity
        if off(resource):
            return [Step("stop machine", self.stop)] if actual.runs else []
        if actual.desired is None:
            return [Step("wait for nic", self.wait, (nic_id(resource),))]
        boots = resource.private.get("boots", 0)
        if boots != resource.private.get("booted", 0):
            return [Step("stop machine", self.stop) if actual.runs else Step("note boot", self.note, (boots,))]
        if actual.machine and actual.runs and actual.machine.digest == digest(actual.desired):
            return []
        return [Step("machine", self.ensure, (host_name(resource.id),))]

    def _removal(self, resource: Resource, actual: Actual) -> list[Step]:
        if actual.machine:
            return [Step("remove machine", self.remove)]
        kept = resource.properties["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] != "Delete"
        if actual.nic and not kept:
            return [Step("delete nic", self.delete_nic, (actual.nic.id,))]
        return self._identity.plan(resource, actual.identity)

    def status(self, resource: Resource, actual: Actual) -> Document:
        created = datetime.fromtimestamp(resource.created_at, UTC).isoformat()
        return {"vmId": resource.private["vmId"], "timeCreated": created}

    async def wait(self, ctx: Context, resource: Resource, id: str) -> None:
        """Until the interface stands in this machine's walls: it has been told by the write that named it."""
        nic = await ctx.get(id)
        if nic is None:
            raise ArmError("InvalidResourceReference", f"Resource {id} referenced by resource {resource.id} has gone.")
        if nic.settled and nic.error:
            raise ArmError.from_body(nic.error)
        other = _machine_of(nic)
        if other and other.lower() != resource.key and id in _names(await ctx.get(other)):
            raise nic_in_use(id, other)
        await ctx.watch(id, timeout=0.5)

    async def ensure(self, ctx: Context, resource: Resource, id: str) -> None:
        desired = desired_machine(resource, await ctx.get(nic_id(resource)))
        if desired is None:
            raise Retry(0.1, "waiting for the network interface")
        await self._machines.ensure_machine(desired)

    async def stop(self, ctx: Context, resource: Resource) -> None:
        await self._machines.stop_machine(host_name(resource.id))

    async def note(self, ctx: Context, resource: Resource, boots: int) -> None:
        await ctx.save(resource, private={"booted": boots})

    async def remove(self, ctx: Context, resource: Resource) -> None:
        await self._machines.remove_machine(host_name(resource.id))

    async def delete_nic(self, ctx: Context, resource: Resource, id: str) -> None:
        await ctx.delete(id)
        if await ctx.settled(id, timeout=30) is not None:
            raise Retry(0.2, "the network interface is still there")


def off(resource: Resource) -> bool:
    """Whether it is wanted not to run."""
    return bool(resource.private.get("stopped") or resource.private.get("deallocated"))


def _machine_of(nic: Resource) -> str:
    return str((nic.status.get("virtualMachine") or {}).get("id") or "")


def _names(machine: Resource | None) -> tuple[str, ...]:
    return (nic_id(machine),) if machine else ()


def desired_machine(resource: Resource, nic: Resource | None) -> Machine | None:
    """None while the interface is not there for it."""
    if nic is None or not nic.settled or nic.error or _machine_of(nic).lower() != resource.key:
        return None
    size = find_size(resource.properties["hardwareProfile"]["vmSize"])
    assert size is not None
    profile = resource.properties["osProfile"]
    keys = (profile["linuxConfiguration"].get("ssh") or {}).get("publicKeys") or []
    files = {
        AGENT: File(_AGENT.encode(), 0o755),
        KEYS: File("".join(f"{key['keyData']}\n" for key in keys).encode(), 0o644, restarts=()),
    }
    agent = Service("waagent", ("/bin/sh", AGENT, profile["adminUsername"]))
    return cloud_config.machine(
        cloud_config.CloudConfig(files, (agent,), ()),
        id=host_name(resource.id),
        owner=resource.id,
        hostname=profile["computerName"],
        cpus=size.cpus,
        memory_bytes=size.memory_bytes,
        secrets={},
        resolver=resolver(nic.status),
    )


# --- what is asked of it --------------------------------------------------------------------------------


def _start(resource: Resource, body: Document) -> None:
    resource.private.update(stopped=False, deallocated=False)


def _power_off(resource: Resource, body: Document) -> None:
    resource.private["stopped"] = not resource.private.get("deallocated")


def _deallocate(resource: Resource, body: Document) -> None:
    resource.private.update(stopped=False, deallocated=True)


def _restart(resource: Resource, body: Document) -> None:
    if off(resource):
        raise ArmError(
            "OperationNotAllowed",
            f"Operation 'restart' is not allowed on VM '{resource.rid.name}' since the VM is not running. Start it "
            "instead.",
            status=409,
        )
    resource.private["boots"] = resource.private.get("boots", 0) + 1


_CHANGES = {
    "start": _start,
    "powerOff": _power_off,
    "deallocate": _deallocate,
    "restart": _restart,
    "redeploy": _restart,
}


def _render(resource: Resource, document: Document) -> Document:
    identities.render(resource, document)
    document["properties"]["instanceView"] = instance_view(resource)
    return document


async def _of_nic(reader: Reader, nic: Resource) -> Iterable[str]:
    """The machine in it, which is told of its network's name servers."""
    return [m.id for m in await reader.naming(nic.id, type=VIRTUAL_MACHINE)]


def virtual_machines(
    reconciler: MachineReconciler, admit: MachineAdmission, commands: Commands
) -> ResourceType[Actual]:
    changes = (Action(name, f"{VIRTUAL_MACHINE}/{name}/action", change=change) for name, change in _CHANGES.items())
    return ResourceType(
        VIRTUAL_MACHINE,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=_render,
        schema="virtualMachines",
        actions=(Action("runCommand", f"{VIRTUAL_MACHINE}/runCommand/action", run=commands.run, lro=True), *changes),
        watches={NIC: _of_nic},
        expanded=("instanceView", "userData"),
    )
