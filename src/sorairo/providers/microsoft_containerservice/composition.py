"""What a cluster is composed of in its node resource group, as the ARM documents that AKS would put there.

https://learn.microsoft.com/azure/aks/concepts-clusters-workloads#node-resource-group
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sorairo.engine.types import Document, Resource
from sorairo.providers import overlays
from sorairo.providers.microsoft_containerservice import kubenet, network
from sorairo.providers.microsoft_containerservice.cloud import identity_id
from sorairo.providers.microsoft_containerservice.names import Names, names, outbound_type, pools


@dataclass(frozen=True, slots=True)
class Part:
    """A resource to be put: `needs` are ids of parts that must have settled before."""

    id: str
    body: Document
    needs: tuple[str, ...] = ()
    private: Document = field(default_factory=dict)
    shared: bool = False
    """Others add to its lists (the cloud controller's rules, users' subnets): what is theirs stays."""
    found: bool = False
    """It is the user's, and never made."""


def parts(
    cluster: Resource,
    custom_data: dict[str, str],
    secrets: dict[str, Document],
    joined: dict[str, list[str]],
    assigned: dict[str, Document],
    files: list[Document],
    *rights: tuple[str, Document] | None,
) -> list[Part]:
    """In order of need. By pool name: `custom_data` (a pool without has no scale set yet), `secrets` (of instances to
    come: files by host name), `joined` (backend pools besides the usual two), `assigned` (identities that a set has
    now). `files`: what all instances have, those that are there too. `rights`: assignments (id and body) at the node
    resource group: the role that the cluster's principal works by, what others are denied."""
    it = names(cluster)
    location = cluster.body["location"]
    tags = {"aks-managed-cluster-name": cluster.rid.name, "aks-managed-cluster-rg": cluster.rid.resource_group}
    common: Document = {"location": location, "tags": tags}
    group = Part(it.group, {**common})
    security = Part(it.security_group, {**common, "properties": {"securityRules": []}}, (it.group,), shared=True)
    routes = [Part(it.route_table, {**common, "properties": {"routes": []}}, (it.group,), shared=True)]
    if not it.route_table.lower().startswith(it.group.lower() + "/"):
        routes = []
    outbound = outbound_type(cluster)
    address = [Part(it.public_ip, _address(common, 30), (it.group,))] if outbound == "loadBalancer" else []
    found = [group, security, *routes, *address]
    if identity_id(cluster):  # Else its nodes are its service principal, too.
        found.append(Part(it.kubelet_identity, {**common, "properties": {}}, (it.group,)))
    found += [Part(*right, (it.group,)) for right in rights if right]
    gateway = _nat_gateway(cluster, it, common) if outbound == "managedNATGateway" else []
    found += gateway
    if it.network.lower().startswith(it.group.lower() + "/"):
        found.append(_network(it, common, nat=bool(gateway)))
    elif routes and kubenet.pods(cluster):
        found += _routed_subnets(cluster, it)
    if address:  # Otherwise there is none before the first Service needs it.
        found.append(_load_balancer(cluster, it, common))
    for pool in pools(cluster):
        name = pool["name"]
        if name not in custom_data:
            continue
        found.append(
            _scale_set(
                cluster,
                it,
                pool,
                common,
                custom_data[name],
                secrets.get(name, {}),
                joined.get(name, []),
                assigned.get(name, {}),
                files,
            )
        )
    return found


def holds(stored: Any, wanted: Any, *, shared: bool = False) -> bool:
    """Whether all that is wanted is there; more may be (defaults, and with `shared` others' items of named lists)."""
    if isinstance(wanted, dict):
        return isinstance(stored, dict) and all(
            k in stored and holds(stored[k], v, shared=shared) for k, v in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(stored, list):
            return False
        if shared and all(isinstance(i, dict) and "name" in i for i in (*wanted, *stored)):
            there = {i["name"].lower(): i for i in stored}
            rest = ({k: v for k, v in w.items() if k != "name"} for w in wanted)
            return all(holds(there.get(w["name"].lower()), r, shared=True) for w, r in zip(wanted, rest, strict=True))
        return len(stored) == len(wanted) and all(
            holds(s, w, shared=shared) for s, w in zip(stored, wanted, strict=True)
        )
    return bool(stored == wanted)


def laid_over(stored: Any, wanted: Any) -> Any:
    """A shared part's body with what is wanted in it, and what others have there."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        return {**stored, **{k: laid_over(stored.get(k), v) for k, v in wanted.items()}}
    named = isinstance(wanted, list) and isinstance(stored, list)
    if named and all(isinstance(i, dict) and "name" in i for i in (*wanted, *stored)):
        ours = {i["name"].lower(): i for i in wanted}
        kept = [laid_over(s, ours.pop(s["name"].lower(), s)) for s in stored]
        return [*kept, *ours.values()]
    return wanted


def _address(common: Document, idle_timeout: int) -> Document:
    return {
        **common,
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {
            "publicIPAllocationMethod": "Static",
            "publicIPAddressVersion": "IPv4",
            "idleTimeoutInMinutes": idle_timeout,
        },
    }


def nat_addresses(cluster: Resource) -> list[str]:
    """Ids of the public IPs of a managed NAT gateway."""
    profile = cluster.properties["networkProfile"].get("natGatewayProfile") or {}
    count = int((profile.get("managedOutboundIPProfile") or {}).get("count") or 1)
    return [names(cluster).nat_address(n + 1) for n in range(count)]


def _nat_gateway(cluster: Resource, it: Names, common: Document) -> list[Part]:
    """A managed NAT gateway and its addresses. https://learn.microsoft.com/azure/aks/nat-gateway"""
    timeout = int(cluster.properties["networkProfile"]["natGatewayProfile"]["idleTimeoutInMinutes"])
    ids = nat_addresses(cluster)
    properties = {"idleTimeoutInMinutes": timeout, "publicIpAddresses": [{"id": id} for id in ids]}
    gateway = Part(it.nat_gateway, {**common, "sku": {"name": "Standard"}, "properties": properties}, (it.group, *ids))
    return [*(Part(id, _address(common, 4), (it.group,)) for id in ids), gateway]


def _network(it: Names, common: Document, *, nat: bool) -> Part:
    subnet = {
        "name": it.subnet.rsplit("/", 1)[1],
        "properties": {
            "addressPrefix": "10.224.0.0/16",
            "networkSecurityGroup": {"id": it.security_group},
            "routeTable": {"id": it.route_table},
            **({"natGateway": {"id": it.nat_gateway}} if nat else {}),
        },
    }
    properties = {"addressSpace": {"addressPrefixes": ["10.224.0.0/12"]}, "subnets": [subnet]}
    needs = (it.group, it.security_group, it.route_table, *((it.nat_gateway,) if nat else ()))
    return Part(it.network, {**common, "properties": properties}, needs, shared=True)


def _routed_subnets(cluster: Resource, it: Names) -> list[Part]:
    """The users' subnets that nodes are in, as far as they are ours to change: they get the cluster's route table."""
    mine: dict[str, list[Document]] = {}
    ids = [str(pool["vnetSubnetID"]) for pool in pools(cluster) if pool.get("vnetSubnetID")]
    for subnet in {id.lower(): id for id in ids}.values():
        network_id, _, name = subnet.partition("/subnets/")
        mine.setdefault(network_id, []).append({"name": name, "properties": {"routeTable": {"id": it.route_table}}})
    return [
        Part(id, {"properties": {"subnets": subnets}}, (it.route_table,), shared=True, found=True)
        for id, subnets in mine.items()
    ]


def _load_balancer(cluster: Resource, it: Names, common: Document) -> Part:
    """The cluster's load balancer, with its outbound rule."""
    profile = (cluster.properties.get("networkProfile") or {}).get("loadBalancerProfile") or {}
    frontend = it.public_ip.rsplit("/", 1)[1]
    properties = {
        "frontendIPConfigurations": [
            {
                "name": frontend,
                "properties": {
                    "privateIPAllocationMethod": "Dynamic",
                    "publicIPAddress": {"id": it.public_ip},
                },
            }
        ],
        "backendAddressPools": [
            {"name": "aksOutboundBackendPool", "properties": {}},
            {"name": "kubernetes", "properties": {}},
        ],
        "outboundRules": [
            {
                "name": "aksOutboundRule",
                "properties": {
                    "protocol": "All",
                    "allocatedOutboundPorts": int(profile.get("allocatedOutboundPorts") or 0),
                    "idleTimeoutInMinutes": int(profile.get("idleTimeoutInMinutes") or 30),
                    "enableTcpReset": True,
                    "frontendIPConfigurations": [{"id": f"{it.load_balancer}/frontendIPConfigurations/{frontend}"}],
                    "backendAddressPool": {"id": f"{it.load_balancer}/backendAddressPools/aksOutboundBackendPool"},
                },
            }
        ],
    }
    body = {**common, "sku": {"name": "Standard", "tier": "Regional"}, "properties": properties}
    return Part(it.load_balancer, body, (it.group, it.public_ip), shared=True)


def _scale_set(
    cluster: Resource,
    it: Names,
    pool: Document,
    common: Document,
    custom_data: str,
    secrets: Document,
    joined: list[str],
    assigned: Document,
    files: list[Document],
) -> Part:
    id = it.scale_set(pool["name"])
    name = id.rsplit("/", 1)[1]
    balancer = f"{it.load_balancer}/backendAddressPools"
    overlay = network.overlay(cluster)
    own = ("aksOutboundBackendPool", "kubernetes") if outbound_type(cluster) == "loadBalancer" else ()
    ips: list[Document] = [
        {
            "name": f"ipconfig{n + 1}",
            "properties": {
                "primary": n == 0,
                "subnet": {"id": pool.get("vnetSubnetID") or it.subnet},
                "privateIPAddressVersion": "IPv4",
                **(
                    {
                        "loadBalancerBackendAddressPools": [
                            *({"id": f"{balancer}/{name}"} for name in own),
                            *({"id": id} for id in joined),
                        ]
                    }
                    if n == 0
                    else {}
                ),
            },
        }
        for n in range(1 if overlay else 1 + int(pool["maxPods"]))
    ]
    nic = {
        "name": name,
        "properties": {
            "primary": True,
            "enableIPForwarding": True,
            "networkSecurityGroup": {"id": it.security_group},
            "ipConfigurations": ips,
        },
    }
    profile: Document = {
        "osProfile": {
            "computerNamePrefix": name,
            "adminUsername": "azureuser",
            "linuxConfiguration": {"disablePasswordAuthentication": True},
        },
        "storageProfile": {
            "imageReference": {"id": f"/CommunityGalleries/sorairo/Images/node-{pool['currentOrchestratorVersion']}"},
            "osDisk": {"osType": "Linux", "createOption": "FromImage", "diskSizeGB": pool["osDiskSizeGB"]},
        },
        "networkProfile": {"networkInterfaceConfigurations": [nic]},
    }
    tags = {
        **common["tags"],
        "aks-managed-poolName": pool["name"],
        "aks-managed-orchestrator": f"Kubernetes:{pool['currentOrchestratorVersion']}",
        **(pool.get("tags") or {}),
    }
    stopped = cluster.private.get("stopped")
    body: Document = {
        **common,
        "tags": tags,
        "sku": {"name": pool["vmSize"], "tier": "Standard", "capacity": 0 if stopped else pool["count"]},
        **_identity(it.kubelet_identity if identity_id(cluster) else None, assigned),
        "properties": {"virtualMachineProfile": profile, "upgradePolicy": {"mode": "Manual"}},
    }
    if zones := pool.get("availabilityZones"):
        body["zones"] = zones
    private: dict[str, Any] = {"customData": custom_data, "instanceFiles": files}
    if overlay:
        private[overlays.KEY] = {"cidr": overlay, **({} if kubenet.pods(cluster) else {"pool": it.cluster})}
    if secrets:
        private["instanceSecrets"] = secrets
    needs = (
        it.group,
        *((it.load_balancer,) if own else ()),
        *([it.kubelet_identity] if identity_id(cluster) else []),
        it.network,
    )
    return Part(id, body, needs, private)


def _identity(kubelet: str | None, there: Document) -> Document:
    """The kubelet's, and those that users have given the nodes besides (`az vmss identity assign`); {} for none."""
    ids = [kubelet] if kubelet else []
    ids += [i for i in there.get("userAssignedIdentities") or {} if i.lower() not in (k.lower() for k in ids)]
    kinds = ["SystemAssigned"] if "systemassigned" in str(there.get("type", "")).lower() else []
    kinds += ["UserAssigned"] if ids else []
    if not kinds:
        return {}
    assigned: Document = {"userAssignedIdentities": {i: {} for i in ids}} if ids else {}
    return {"identity": {"type": ", ".join(kinds), **assigned}}


def label(id: str) -> str:
    """A part's short name, as plans and traces show it."""
    kind, name = id.rstrip("/").split("/")[-2:]
    return {
        "resourcegroups": "node resource group",
        "virtualnetworks": "network",
        "networksecuritygroups": "security group",
        "routetables": "route table",
        "publicipaddresses": "public address",
        "loadbalancers": "load balancer",
        "natgateways": "NAT gateway",
        "userassignedidentities": "kubelet identity",
        "virtualmachinescalesets": f"scale set {name}",
        "roleassignments": "role assignment",
        "denyassignments": "deny assignment",
        "privateendpoints": "private endpoint",
        "privatednszones": "private zone",
        "virtualnetworklinks": "private zone's link",
        "a": "private name",
        "privateendpointconnections": f"connection {name}",
    }.get(kind.lower(), f"{kind} {name}")
