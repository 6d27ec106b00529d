"""Instances of a scale set: a NIC, and a machine behind walls with the size's CPUs and memory.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms
"""

from __future__ import annotations

import ipaddress
import json
import uuid
from dataclasses import dataclass

from sorairo.drivers.protocols import Machine, Machines, MachineState, digest
from sorairo.engine.documents import copied
from sorairo.engine.errors import ArmError, Retry, not_found, not_implemented
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Action, Admission, Context, Document, Resource, ResourceType, Step
from sorairo.providers.microsoft_compute import cloud_config
from sorairo.providers.microsoft_compute.run_command import Commands
from sorairo.providers.microsoft_compute.scale_sets import INSTANCE
from sorairo.providers.microsoft_compute.sizes import find_size
from sorairo.providers.microsoft_compute.versions import API_VERSIONS
from sorairo.providers.overlays import KEY, block_of, overlay_of


def nic_id(instance: Resource) -> str:
    return f"{instance.id}/networkInterfaces/{parse_id(instance.rid.parent).name}"


async def admit(admission: Admission) -> None:
    if admission.managed_by is None:
        _update(admission)
    for secret in ("customData",):
        if (value := admission.body["properties"].get("osProfile", {}).pop(secret, None)) is not None:
            admission.private[secret] = value


JOINED = "loadBalancerBackendAddressPools"


def _update(admission: Admission) -> None:
    """A client's PUT changes what can be changed of an instance, and leaves out what it likes: its tags, and the
    backend pools that its IP configurations are in.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/update"""
    existing = admission.existing
    if existing is None:
        raise not_found(admission.id.text)
    wanted, body = admission.body, copied(existing.body)
    if (wanted["properties"].get("storageProfile") or {}).get("dataDisks"):
        raise not_implemented("disks of scale set instances")
    if "tags" in wanted:
        body["tags"] = wanted["tags"]
    given = _ip_configurations(wanted)
    for key, ip in _ip_configurations(body).items():
        if key in given and JOINED in given[key]["properties"]:
            ip["properties"][JOINED] = given[key]["properties"][JOINED]
    admission.body = body


def _ip_configurations(body: Document) -> dict[tuple[str, str], Document]:
    """By the names of the NIC's configuration and their own."""
    profile = body["properties"].get("networkProfileConfiguration") or {}
    return {
        (nic["name"].lower(), ip["name"].lower()): ip
        for nic in profile.get("networkInterfaceConfigurations") or []
        for ip in nic["properties"].get("ipConfigurations") or []
    }


def _pools(ips: list[Document]) -> list[tuple[str, set[str]]]:
    """Which pools each IP configuration is in, by name."""
    return [(ip["name"], {p["id"].lower() for p in ip["properties"].get(JOINED) or []}) for ip in ips]


@dataclass(frozen=True, slots=True)
class Actual:
    nic: Resource | None
    machine: MachineState | None
    desired: Machine | None
    """None until the NIC has its addresses."""

    def nic_right(self, resource: Resource) -> bool:
        nic = self.nic
        if nic is None or not nic.settled or nic.error or self.desired is None:
            return False
        wanted = resource.properties["networkProfileConfiguration"]["networkInterfaceConfigurations"][0]
        return _pools(nic.properties["ipConfigurations"]) == _pools(wanted["properties"]["ipConfigurations"])


class InstanceReconciler:
    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def observe(self, ctx: Context, resource: Resource) -> Actual:
        nic = await ctx.get(nic_id(resource))
        machines = await self._machines.observe_machines()
        return Actual(nic, machines.get(host_name(resource.id)), desired_machine(resource, nic))

    def plan(self, resource: Resource, actual: Actual) -> list[Step]:
        if resource.deleting:
            plan = [Step("remove machine", self.remove)] if actual.machine else []
            if actual.nic:
                plan.append(Step("delete nic", self.delete_nic, needs=tuple(s.name for s in plan)))
            return plan
        machine = actual.machine
        plan = [] if actual.nic_right(resource) else [Step("nic", self.nic)]
        needs = tuple(s.name for s in plan)
        if resource.private.get("deallocated"):
            running = machine and any(p.running for p in machine.processes)
            return [*plan, Step("stop machine", self.stop)] if running else plan
        # Its supervisor keeps the services; what one waits for is its own affair.
        up = machine is not None and (not machine.processes or any(p.pid for p in machine.processes))
        if up and actual.desired and machine and machine.digest == digest(actual.desired):
            return plan
        return [*plan, Step("machine", self.ensure, (host_name(resource.id),), needs)]

    def status(self, resource: Resource, actual: Actual) -> Document:
        stopped = bool(resource.private.get("deallocated"))
        code, text = ("PowerState/deallocated", "VM deallocated") if stopped else ("PowerState/running", "VM running")
        return {
            "vmId": str(uuid.uuid5(uuid.NAMESPACE_URL, resource.id.lower())),
            "latestModelApplied": True,
            "instanceView": {
                # One machine is one rack; where there are no zones, a node's topology is told by these.
                "platformFaultDomain": 0,
                "platformUpdateDomain": 0,
                "statuses": [
                    {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"},
                    {"code": code, "level": "Info", "displayStatus": text},
                ],
            },
        }

    async def nic(self, ctx: Context, resource: Resource) -> None:
        """The first NIC configuration of the scale set's model, made for this instance."""
        configurations = resource.properties["networkProfileConfiguration"].get("networkInterfaceConfigurations", [])
        if not configurations:
            raise ArmError(
                "InvalidParameter", "networkInterfaceConfigurations must not be empty.", target="networkProfile"
            )
        model = configurations[0]["properties"]
        body: Document = {
            "location": resource.body["location"],
            "properties": {
                "ipConfigurations": [
                    {
                        "name": ip["name"],
                        "properties": {
                            k: ip["properties"][k]
                            for k in ("subnet", "primary", "loadBalancerBackendAddressPools")
                            if k in ip["properties"]
                        },
                    }
                    for ip in model["ipConfigurations"]
                ],
                **{k: model[k] for k in ("networkSecurityGroup", "enableIPForwarding") if k in model},
            },
        }
        overlay = overlay_of(resource)
        await ctx.put(nic_id(resource), body, private={KEY: overlay} if overlay else None)
        await ctx.settled(nic_id(resource))

    async def ensure(self, ctx: Context, resource: Resource, id: str) -> None:
        desired = desired_machine(resource, await ctx.get(nic_id(resource)))
        if desired is None:
            raise Retry(0.1, "waiting for the NIC's addresses")
        await self._machines.ensure_machine(desired)

    async def stop(self, ctx: Context, resource: Resource) -> None:
        await self._machines.stop_machine(host_name(resource.id))

    async def remove(self, ctx: Context, resource: Resource) -> None:
        await self._machines.remove_machine(host_name(resource.id))

    async def delete_nic(self, ctx: Context, resource: Resource) -> None:
        await ctx.delete(nic_id(resource))
        if await ctx.settled(nic_id(resource), timeout=30) is not None:
            raise Retry(0.2, "the NIC is still there")


def desired_machine(resource: Resource, nic: Resource | None) -> Machine | None:
    addresses = nic.private.get("addresses") if nic else None
    if not addresses:
        return None
    size = find_size(resource.properties["hardwareProfile"]["vmSize"])
    assert size is not None
    name = resource.properties["osProfile"]["computerName"]
    custom_data = str(resource.private.get("customData", ""))
    metadata = {}
    if custom_data:
        metadata = {
            "v1.local_hostname": name,
            "ds.meta_data.instance_id": resource.id,
            "ds.meta_data.local_ipv4": addresses[0],
            "ds.meta_data.secondary_ranges": overlay_range(block)
            if (block := block_of(nic))
            else secondary_ranges(addresses[1:], nic.private["prefix"] if nic else "", addresses[0]),
            "ds.meta_data.zone": (resource.body.get("zones") or ["0"])[0],
        }
    return cloud_config.machine(
        cloud_config.parse(custom_data, metadata),
        id=host_name(resource.id),
        owner=resource.id,
        hostname=name,
        cpus=size.cpus,
        memory_bytes=size.memory_bytes,
        secrets=resource.private.get("secrets", {}),
        more=resource.private.get("files", ()),
        resolver=resolver(nic.status if nic else {}),
    )


def resolver(nic: Document) -> str:
    """`/etc/resolv.conf`, as Azure's DHCP servers and a machine's own programs make it. '' while nothing is known."""
    dns = nic.get("dnsSettings") or {}
    lines = [f"nameserver {server}" for server in dns.get("appliedDnsServers") or []]
    return "".join(f"{line}\n" for line in [*lines, f"search {dns['internalDomainNameSuffix']}"]) if lines else ""


def overlay_range(block: str) -> str:
    """As `secondary_ranges`, of a machine whose guests have a prefix of their own. The gateway is its first address."""
    return json.dumps([[{"subnet": block}]])


def secondary_ranges(addresses: list[str], prefix: str, gateway: str) -> str:
    """A NIC's secondary addresses as JSON, in unbroken ranges: `[[{subnet, rangeStart, rangeEnd, gateway}, …]]`.

    The shape is the CNI host-local plugin's. The gateway is the machine itself.
    """
    numbers = {int(ipaddress.IPv4Address(a)) for a in addresses}
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n for n in numbers if n + 1 not in numbers)
    return json.dumps(
        [
            [
                {
                    "subnet": prefix,
                    "rangeStart": str(ipaddress.IPv4Address(a)),
                    "rangeEnd": str(ipaddress.IPv4Address(b)),
                    "gateway": gateway,
                }
                for a, b in zip(starts, ends, strict=True)
            ]
        ]
    )


def _render(resource: Resource, document: Document) -> Document:
    document["instanceId"] = resource.rid.name
    # Azure names instances after their scale set here, and by number in the id.
    document["name"] = f"{parse_id(resource.rid.parent).name}_{resource.rid.name}"
    document["properties"]["networkProfile"] = {"networkInterfaces": [{"id": nic_id(resource)}]}
    return document


def instances(reconciler: InstanceReconciler, commands: Commands) -> ResourceType[Actual]:
    return ResourceType(
        INSTANCE,
        API_VERSIONS,
        reconciler=reconciler,
        admit=admit,
        render=_render,
        tracked=False,
        actions=(
            Action("runCommand", f"{INSTANCE}/runCommand/action", run=commands.run, lro=True),
            Action(
                "deallocate", f"{INSTANCE}/deallocate/action", change=lambda r, b: r.private.update(deallocated=True)
            ),
            Action("start", f"{INSTANCE}/start/action", change=lambda r, b: r.private.update(deallocated=False)),
        ),
    )
