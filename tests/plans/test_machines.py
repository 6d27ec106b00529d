"""Scale sets and their instances: given a capacity and what is there, then these steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from sorairo.drivers.hollow.machines import HollowMachines
from sorairo.drivers.protocols import Machine, MachineState, Process, Service, digest
from sorairo.engine.ids import host_name
from sorairo.engine.types import Resource
from sorairo.providers.microsoft_compute.instances import Actual as InstanceActual
from sorairo.providers.microsoft_compute.instances import InstanceReconciler
from sorairo.providers.microsoft_compute.scale_sets import Actual as ScaleSetActual
from sorairo.providers.microsoft_compute.scale_sets import ScaleSetReconciler
from sorairo.providers.microsoft_compute.virtual_machines import Actual as VirtualActual
from sorairo.providers.microsoft_compute.virtual_machines import MachineReconciler

from .table import GROUP, Case, check, resource

SCALE_SET = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/s"


def there(*numbers: int, next: int | None = None, **more: Any) -> ScaleSetActual:
    found = tuple((n, f"{SCALE_SET}/virtualMachines/{n}") for n in numbers)
    last = numbers[-1] + 1 if numbers else 0
    empty = ScaleSetActual(found, (), (), (), last if next is None else next)
    return replace(empty, **more)


def instance(number: int) -> str:
    return f"{SCALE_SET}/virtualMachines/{number}"


# capacity, the case, and the arguments of its steps
SCALE_SETS: list[tuple[int, Case, list[tuple[object, ...]]]] = [
    (3, Case("none is there", there(), ("create instances",)), [(0, 1, 2)]),
    (0, Case("none is wanted", there()), []),
    (2, Case("as many as wanted", there(0, 1)), []),
    (4, Case("more are wanted", there(0, 1), ("create instances",)), [(2, 3)]),
    (1, Case("fewer are wanted: the newest go", there(0, 1, 2), ("delete instances",)), [(instance(1), instance(2))]),
    (3, Case("numbers are not used again", there(0, 2), ("create instances",)), [(3,)]),
    (2, Case("made, and a kill came before it was noted", there(0, next=0), ("number instances",)), [(1,)]),
    (2, Case("nobody looks at numbers when none is missing", there(0, 1, next=0)), []),
    (2, Case("they are waited for", there(0, 1, unsettled=(instance(1),)), ("wait for instances",)),
     [((instance(1),), ())]),
    (1, Case("those that go are waited for", there(0, leaving=(instance(1),)), ("wait for instances",)),
     [((), (instance(1),))]),
    (3, Case("waiting comes after asking", there(0, unsettled=(instance(0),)), ("create instances",)), [(1, 2)]),
    (2, Case("one that failed is tried again", there(0, 1, failed=(1,)), ("create instances",)), [(1,)]),
    (1, Case("one that failed and is not wanted goes", there(0, 1, failed=(1,)), ("delete instances",)),
     [(instance(1),)]),
    (2, Case("those its owner names go first", there(0, 1, 2), ("delete instances",), private={"unwanted": [0]}),
     [(instance(0),)]),
    (2, Case("and are replaced", there(0, 1), ("delete instances", "create instances"), private={"unwanted": ["1"]}),
     [(instance(1),), (2,)]),
    (2, Case("their files have changed: one after the other", there(0, 1, outdated=(0, 1)), ("update instance",)),
     [(0,)]),
    (2, Case("the first is being changed", there(0, 1, outdated=(1,), unsettled=(instance(0),)),
     ("wait for instances",)), [((instance(0),), ())]),
    (2, Case("its own identity is no longer wanted", there(0, 1, identity="p"), ("forget identity",)), [()]),
    (2, Case("its own identity goes last", there(0, 1, identity="p"), ("delete instances",), deleting=True),
     [(instance(0), instance(1))]),
    (2, Case("and then goes", there(next=2, identity="p"), ("forget identity",), deleting=True), [()]),
    (2, Case("all go with it", there(0, 1), ("delete instances",), deleting=True), [(instance(0), instance(1))]),
    (2, Case("it waits for the last", there(leaving=(instance(1),)), ("wait for instances",), deleting=True),
     [((), (instance(1),))]),
    (2, Case("it is empty", there(next=2), deleting=True), []),
]  # fmt: skip


@pytest.mark.parametrize(("capacity", "case", "arguments"), SCALE_SETS, ids=str)
def test_scale_set(capacity: int, case: Case, arguments: list[tuple[object, ...]]) -> None:
    body = {"location": "westeurope", "sku": {"name": "Standard_D2s_v3", "capacity": capacity}, "properties": {}}
    plan = check(ScaleSetReconciler(cast(Any, None)), resource(SCALE_SET, body, case), case)
    assert [s.args for s in plan] == arguments


@pytest.mark.parametrize(("noted", "steps"), [(None, ["make identity"]), ("p", [])])
def test_a_scale_sets_own_identity(noted: str | None, steps: list[str]) -> None:
    body = {"sku": {"capacity": 0}, "identity": {"type": "SystemAssigned"}, "properties": {}}
    wanted = resource(SCALE_SET, body, Case("", None))
    plan = ScaleSetReconciler(cast(Any, None)).plan(wanted, there(identity=noted))
    assert [s.name for s in plan] == steps
    # Going, it is looked for though nothing was noted: a kill may have come between.
    wanted.deleting = True
    (forget,) = ScaleSetReconciler(cast(Any, None)).plan(wanted, there(identity=noted))
    assert forget.name == "forget identity"
    wanted.private["identity"] = None
    assert ScaleSetReconciler(cast(Any, None)).plan(wanted, there()) == []


INSTANCE = instance(0)
IPS = [{"name": "ipconfig1", "properties": {}}]
MODEL = {"networkInterfaceConfigurations": [{"name": "n", "properties": {"ipConfigurations": IPS}}]}
MACHINE = Machine(host_name(INSTANCE), INSTANCE, (Service("kubelet", ("kubelet",)),))
RUNS = (Process("kubelet", 7, True, 0),)
DOWN = (Process("kubelet", None, False, 0),)


def nic(**changes: Any) -> Resource:
    made = Resource(f"{INSTANCE}/networkInterfaces/s", {"properties": {"ipConfigurations": IPS}}, observed_generation=1)
    return replace(made, **changes)


def machine(processes: tuple[Process, ...] = RUNS, of: Machine = MACHINE) -> MachineState:
    return MachineState(MACHINE.id, INSTANCE, digest(of), processes)


JOINED = [{"name": "ipconfig1", "properties": {"loadBalancerBackendAddressPools": [{"id": "/pool"}]}}]
STANDS = InstanceActual(nic(), machine(), MACHINE)
BOTH = ("nic", "machine < nic")

INSTANCES = [
    Case("first a NIC, then the machine that is in it", InstanceActual(None, None, None), BOTH),
    Case("its NIC is on the way", InstanceActual(nic(observed_generation=0), None, None), BOTH),
    Case("its NIC failed, and is tried again", InstanceActual(nic(error={"code": "SubnetIsFull"}), None, None), BOTH),
    Case("its NIC is in other pools than it should; its machine is right", replace(STANDS, nic=nic(body={"properties": {
        "ipConfigurations": JOINED}})), ("nic",)),
    Case("it has its addresses", InstanceActual(nic(), None, MACHINE), ("machine",)),
    Case("it is as wanted", STANDS),
    Case("it was made half", replace(STANDS, machine=replace(machine(), digest="")), ("machine",)),
    Case("it is asked for more", replace(STANDS, machine=machine(of=replace(MACHINE, cpus=4.0))), ("machine",)),
    Case("it is down", replace(STANDS, machine=machine(DOWN)), ("machine",)),
    Case("deallocated, it is stopped", STANDS, ("stop machine",), private={"deallocated": True}),
    Case("deallocated, and so it is", replace(STANDS, machine=machine(DOWN)), private={"deallocated": True}),
    Case("machine, then NIC, go", STANDS, ("remove machine", "delete nic < remove machine"), deleting=True),
    Case("its machine has gone", replace(STANDS, machine=None), ("delete nic",), deleting=True),
    Case("a machine without a NIC goes", InstanceActual(None, machine(DOWN), None), ("remove machine",),
         deleting=True),
    Case("it has gone", InstanceActual(None, None, None), deleting=True),
]  # fmt: skip


@pytest.mark.parametrize("case", INSTANCES, ids=str)
def test_instance(case: Case) -> None:
    body = {"location": "westeurope", "properties": {"networkProfileConfiguration": MODEL}}
    check(InstanceReconciler(HollowMachines()), resource(INSTANCE, body, case), case)


VIRTUAL = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/v"
OF_IT = f"{GROUP}/providers/Microsoft.Network/networkInterfaces/n"
ALONE = Machine(host_name(VIRTUAL), VIRTUAL, (Service("waagent", ("sh",)),))
WITH_NIC = Resource(OF_IT, {"properties": {}}, observed_generation=1)


def alone(processes: tuple[Process, ...] = RUNS, of: Machine = ALONE) -> MachineState:
    return MachineState(ALONE.id, VIRTUAL, digest(of), processes)


RUNNING = VirtualActual(WITH_NIC, alone(), ALONE, "p")
VIRTUALS: list[tuple[str, Case]] = [
    ("Detach", Case("first who it is", VirtualActual(WITH_NIC, None, ALONE), ("make identity",))),
    ("Detach", Case("its interface is not there for it yet", VirtualActual(WITH_NIC, None, None, "p"),
                    ("wait for nic",))),
    ("Detach", Case("then it is made", VirtualActual(WITH_NIC, None, ALONE, "p"), ("machine",))),
    ("Detach", Case("it is as wanted", RUNNING)),
    ("Detach", Case("it was made half", replace(RUNNING, machine=replace(alone(), digest="")), ("machine",))),
    ("Detach", Case("it has another size", replace(RUNNING, machine=alone(of=replace(ALONE, cpus=4.0))), ("machine",))),
    ("Detach", Case("it is down", replace(RUNNING, machine=alone(DOWN)), ("machine",))),
    ("Detach", Case("stopped, it is stopped", RUNNING, ("stop machine",), private={"stopped": True})),
    ("Detach", Case("deallocated, and so it is", replace(RUNNING, machine=alone(DOWN)),
                    private={"deallocated": True})),
    ("Detach", Case("off, it waits for no interface", replace(RUNNING, machine=alone(DOWN), desired=None),
                    private={"deallocated": True})),
    ("Detach", Case("asked to restart, it stops", RUNNING, ("stop machine",), private={"boots": 1})),
    ("Detach", Case("which is noted", replace(RUNNING, machine=alone(DOWN)), ("note boot",), private={"boots": 1})),
    ("Detach", Case("and it starts", replace(RUNNING, machine=alone(DOWN)), ("machine",),
                    private={"boots": 1, "booted": 1})),
    ("Detach", Case("it goes", RUNNING, ("remove machine",), deleting=True)),
    ("Detach", Case("its interface stays, who it was is forgotten", replace(RUNNING, machine=None),
                    ("forget identity",), deleting=True)),
    ("Delete", Case("its interface goes with it", replace(RUNNING, machine=None), ("delete nic",), deleting=True)),
    ("Delete", Case("and has gone", VirtualActual(None, None, None, "p"), ("forget identity",), deleting=True)),
    ("Delete", Case("all has gone", VirtualActual(None, None), deleting=True, private={"identity": None})),
]  # fmt: skip


@pytest.mark.parametrize(("option", "case"), VIRTUALS, ids=str)
def test_virtual_machine(option: str, case: Case) -> None:
    nics = [{"id": OF_IT, "properties": {"deleteOption": option}}]
    body = {"identity": {"type": "SystemAssigned"}, "properties": {"networkProfile": {"networkInterfaces": nics}}}
    check(MachineReconciler(HollowMachines(), cast(Any, None)), resource(VIRTUAL, body, case), case)
