"""Clusters: given what is of one, then these steps, and what waits for what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from sorairo.drivers.hollow.links import HollowLinks
from sorairo.drivers.hollow.machines import HollowMachines
from sorairo.drivers.kubernetes import KubernetesApi
from sorairo.drivers.protocols import Leg, Machine
from sorairo.engine.types import Document, Resource
from sorairo.providers.microsoft_containerservice.composition import parts
from sorairo.providers.microsoft_containerservice.entra import Authority
from sorairo.providers.microsoft_containerservice.names import names
from sorairo.providers.microsoft_containerservice.observe import Actual, Node
from sorairo.providers.microsoft_containerservice.reconcile import ClusterReconciler
from sorairo.providers.microsoft_containerservice.substrate import Substrate
from sorairo.providers.principals import Principals

from .table import GROUP, Case, check

CLUSTER = f"{GROUP}/providers/Microsoft.ContainerService/managedClusters/c"


def pool(name: str, count: int = 1) -> Document:
    version = {"currentOrchestratorVersion": "1.37.2", "maxPods": 2, "osDiskSizeGB": 128, "vmSize": "Standard_D2s_v3"}
    return {"name": name, "count": count, "mode": "System", **version}


def cluster(*pools: Document, deleting: bool = False, **private: Any) -> Resource:
    body = {
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "nodeResourceGroup": "MC_g_c_westeurope",
            "dnsPrefix": "c",
            "currentKubernetesVersion": "1.37.2",
            "agentPoolProfiles": list(pools or (pool("one"),)),
        },
    }
    return Resource(CLUSTER, body, private={"identity": {"principalId": "p"}, **private}, deleting=deleting)


PARTS = tuple(parts(cluster(), {"one": ""}, {}, {}, {}, []))
ALL = frozenset(p.id for p in PARTS)
SCALE_SET = names(cluster()).scale_set("one")
VMSS = f"scale set {SCALE_SET.rsplit('/', 1)[1]}"
LEG = Leg("c", CLUSTER, "c", "198.18.0.9", "v")
MACHINE = Machine("c", CLUSTER, ())
NODE = Node("one000000", f"{SCALE_SET}/virtualMachines/0", "one")
SECOND = Node("one000001", f"{SCALE_SET}/virtualMachines/1", "one")

STANDS = Actual(
    decided=True, group=True, parts=PARTS, leg=True, addressed=True, leg_wanted=LEG, machine=True, machine_running=True,
    machine_right=True, machine_wanted=MACHINE, api_ready=True, default_account=True, addons=True, nodes=(NODE,),
)  # fmt: skip
NOTHING = Actual(decided=True, parts=PARTS, wrong=ALL, leg_wanted=LEG, machine_wanted=MACHINE)

_PARTS = (
    "node resource group",
    "security group < node resource group",
    "route table < node resource group",
    "public address < node resource group",
    "kubelet identity < node resource group",
    "network < node resource group, security group, route table",
    "load balancer < node resource group, public address",
)
_NODES = f"{VMSS} < node resource group, load balancer, kubelet identity, network"
_INSIDE = ("default service account < API server",)
_ADDONS = "add-ons < API server, nodes, default service account"

LINUX = [
    Case("what is chosen once is chosen first", Actual(), ("decide",)),
    Case("nothing is there: the control plane waits for its address alone, nodes for all they name", NOTHING,
         (*_PARTS, _NODES, "control plane address", "control plane's way in < network, control plane address",
          "control plane < control plane address", "seed etcd < control plane", "API server < control plane, seed etcd",
          *_INSIDE, f"nodes < {VMSS}, API server", _ADDONS)),
    Case("all is as wanted", STANDS),
    Case("its machine is other than wanted", replace(STANDS, machine_right=False),
         ("control plane", "seed etcd < control plane")),
    Case("its machine is down: what was inside cannot be seen",
         replace(STANDS, machine_running=False, machine_right=False, api_ready=False, default_account=False,
                 addons=False),
         ("control plane", "seed etcd < control plane", "API server < control plane, seed etcd", *_INSIDE,
          "nodes < API server", _ADDONS)),
    Case("killed before etcd was seeded", replace(STANDS, unseeded=True, api_ready=False, default_account=False,
                                                  addons=False),
         ("seed etcd", "API server < seed etcd", *_INSIDE, "nodes < API server", _ADDONS)),
    Case("killed before its controllers were let go", replace(STANDS, held=True), ("API server",)),
    Case("a pool has another size", replace(STANDS, wrong=frozenset([SCALE_SET])), (VMSS, f"nodes < {VMSS}")),
    Case("a node is not ready", replace(STANDS, unready=(NODE.name,)), ("nodes",)),
    Case("a node's machine has gone, its object has not", replace(STANDS, stray=("old",)), ("delete node old",)),
    Case("a node has other labels than its pool", replace(STANDS, unlike=(NODE.name,)), ("node labels and taints",)),
    Case("one node too many is drained before its pool shrinks",
         replace(STANDS, nodes=(NODE, SECOND), wrong=frozenset([SCALE_SET])),
         (f"drain {SECOND.name}", f"{VMSS} < drain {SECOND.name}", f"nodes < {VMSS}")),
    Case("a pool that is deleted is drained first",
         replace(STANDS, nodes=(NODE, Node("two000000", "x/y/virtualMachines/0", "two")),
                 surplus=("/g/virtualMachineScaleSets/two",)),
         ("drain two000000", "delete scale set two < drain two000000")),
    Case("a lockdown that is no longer wanted", replace(STANDS, surplus=("/g/denyAssignments/x",)),
         ("delete deny assignment",)),
    Case("nobody can be evicted while the API server does not answer",
         replace(STANDS, nodes=(NODE, SECOND), wrong=frozenset([SCALE_SET]), api_ready=False),
         (VMSS, "API server", f"nodes < {VMSS}, API server")),
    Case("its add-ons are of an older sorairo", replace(STANDS, addons=False), ("add-ons",)),
    Case("its way into the network is gone", replace(STANDS, leg=False), ("control plane's way in",)),
    Case("no token can be verified: the daemon, or its namespace, is another", replace(STANDS, shut_out=True),
         ("control plane's way to the token service",)),
    Case("its users are to be the directory's: the way to the keys is there before it starts",
         replace(STANDS, shut_out=True, machine_right=False, admins=False),
         ("control plane's way to the token service", "control plane < control plane's way to the token service",
          "seed etcd < control plane", "administrators < control plane")),
    Case("other groups are its administrators", replace(STANDS, admins=False), ("administrators",)),
    Case("a command that nobody waits for", replace(STANDS, commands=("m",)), ("remove command m",)),
    Case("stopped: nodes first, then the control plane", replace(STANDS, wrong=frozenset([SCALE_SET])),
         (VMSS, f"stop control plane < {VMSS}"), private={"stopped": True}),
    Case("stopped, and so it is", replace(STANDS, machine_running=False, machine_right=False, api_ready=False),
         private={"stopped": True}),
    Case("started again", replace(STANDS, machine_running=False, machine_right=False, api_ready=False,
                                  wrong=frozenset([SCALE_SET])),
         (VMSS, "control plane", "seed etcd < control plane", "API server < control plane, seed etcd",
          f"nodes < {VMSS}, API server"), private={"stopped": False}),
    Case("it goes", STANDS, ("remove control plane", "remove control plane address < remove control plane",
                             "delete node resource group", "forget identity"), deleting=True),
    Case("it goes, and subnets of its users' are without its route table first",
         replace(STANDS, leg=False, tied=("v",)),
         ("remove control plane", "let go of subnets", "delete node resource group < let go of subnets",
          "forget identity"), deleting=True),
    Case("it goes before it was decided", Actual(), ("forget identity",), deleting=True),
    Case("it goes with its commands", replace(STANDS, commands=("m",)),
         ("remove command m", "remove control plane < remove command m",
          "remove control plane address < remove command m, remove control plane", "delete node resource group",
          "forget identity"), deleting=True),
    Case("its identity is forgotten", Actual(), deleting=True, private={"identity": None}),
]  # fmt: skip

HOLLOW = [
    Case("nodes are objects, made when the API server answers", replace(NOTHING, leg=True, addressed=True),
         (*_PARTS, _NODES, "control plane", "seed etcd < control plane", "API server < control plane, seed etcd",
          *_INSIDE, f"hollow nodes < {VMSS}, API server", f"nodes < {VMSS}, API server, hollow nodes", _ADDONS)),
    Case("all is as wanted", STANDS),
    Case("an instance has no object yet", replace(STANDS, unregistered=(NODE,), unready=(NODE.name,)),
         ("hollow nodes", "nodes < hollow nodes")),
    Case("it goes", replace(STANDS, leg=False), ("remove control plane", "delete node resource group",
                                                 "forget identity"), deleting=True),
]  # fmt: skip


def reconciler(kind: Any) -> ClusterReconciler:
    authority = Authority("t", "https://127.0.0.1:8443", "CA")
    on = Substrate(kind, HollowMachines(), HollowLinks(), cast(KubernetesApi, None), (), (), authority, None)
    return ClusterReconciler(on, cast(Principals, None), {})


@pytest.mark.parametrize("case", LINUX, ids=str)
def test_with_real_nodes(case: Case) -> None:
    check(reconciler("linux"), cluster(deleting=case.deleting, **(case.private or {})), case)


@pytest.mark.parametrize("case", HOLLOW, ids=str)
def test_with_hollow_nodes(case: Case) -> None:
    check(reconciler("hollow"), cluster(deleting=case.deleting, **(case.private or {})), case)


def test_each_part_names_only_parts_before_it() -> None:
    for n, part in enumerate(PARTS):
        assert set(part.needs) <= {p.id for p in PARTS[:n]}, part.id
