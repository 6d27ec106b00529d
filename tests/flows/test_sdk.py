"""Azure's Python SDKs, unmodified, with azure-identity: their idea of operations, pages, models and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.containerservice import models as aks
from azure.mgmt.containerservice.aio import ContainerServiceClient as AsyncContainerServiceClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network import models as net
from azure.mgmt.resource.resources import ResourceManagementClient

from flows_shared import CLUSTER, GROUP, virtual_machine
from installation import Installation

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


class Clients:
    """One client of each SDK, as a user would make them from `sorairo env`."""

    def __init__(self, on: Installation) -> None:
        who = on.credentials
        trust: dict[str, Any] = {"connection_verify": str(on.state.ca)}
        self.credential = ClientSecretCredential(
            who["tenantId"],
            who["clientId"],
            who["clientSecret"],
            authority=on.base,
            disable_instance_discovery=True,
            **trust,
        )
        common: dict[str, Any] = {
            "base_url": on.base,
            "credential_scopes": ["https://management.azure.com/.default"],
            "polling_interval": 1,
            **trust,
        }
        subscription = who["subscriptionId"]
        self.aks = ContainerServiceClient(self.credential, subscription, **common)
        self.network = NetworkManagementClient(self.credential, subscription, **common)
        self.compute = ComputeManagementClient(self.credential, subscription, **common)
        self.resources = ResourceManagementClient(self.credential, subscription, **common)


@pytest.fixture(scope="module")
def sdk(hollow: Installation) -> Iterator[Clients]:
    clients = Clients(hollow)
    yield clients
    for client in (clients.aks, clients.network, clients.compute, clients.resources, clients.credential):
        client.close()


def test_a_cluster_from_create_to_delete(sdk: Clients, hollow: Installation) -> None:
    clusters, pools = sdk.aks.managed_clusters, sdk.aks.agent_pools
    sdk.resources.resource_groups.create_or_update("sdk", {"location": "westeurope"})
    wanted = aks.ManagedCluster(
        location="westeurope",
        tags={"made": "by the SDK"},
        identity=aks.ManagedClusterIdentity(type="SystemAssigned"),
        dns_prefix="sdk",
        agent_pool_profiles=[
            aks.ManagedClusterAgentPoolProfile(name="system", mode="System", count=1, vm_size="Standard_D2s_v3")
        ],
    )
    made = clusters.begin_create_or_update("sdk", "one", wanted).result()
    assert (made.name, made.provisioning_state, made.power_state.code) == ("one", "Succeeded", "Running")
    assert made.identity.principal_id
    assert made.identity_profile["kubeletidentity"].client_id
    assert made.fqdn.endswith(".hcp.westeurope.azmk8s.sorairo.internal")
    assert made.agent_pool_profiles[0].current_orchestrator_version == made.current_kubernetes_version
    assert made.node_resource_group == "MC_sdk_one_westeurope"

    config = clusters.list_cluster_user_credentials("sdk", "one").kubeconfigs[0]
    document = yaml.safe_load(config.value)
    assert document["current-context"] == "one"
    assert [c.name for c in clusters.list_by_resource_group("SDK")] == ["one"]
    assert "one" in [c.name for c in clusters.list()]

    pool = pools.begin_create_or_update(
        "sdk", "one", "extra", aks.AgentPool(count=2, mode="User", node_labels={"a": "b"})
    )
    assert (pool.result().count, pool.result().name) == (2, "extra")
    scaled = pools.get("sdk", "one", "extra")
    scaled.count = 1
    assert pools.begin_create_or_update("sdk", "one", "extra", scaled).result().count == 1
    assert sorted(p.name for p in pools.list("sdk", "one")) == ["extra", "system"]
    pools.begin_delete("sdk", "one", "extra").result()
    with pytest.raises(ResourceNotFoundError):
        pools.get("sdk", "one", "extra")

    tagged = clusters.begin_update_tags("sdk", "one", aks.TagsObject(tags={"only": "this"})).result()
    assert tagged.tags == {"only": "this"}
    ran = clusters.begin_run_command("sdk", "one", aks.RunCommandRequest(command="kubectl get nodes -o name")).result()
    assert (ran.exit_code, ran.logs.count("node/")) == (0, 1)

    clusters.begin_delete("sdk", "one").result()
    with pytest.raises(ResourceNotFoundError) as gone:
        clusters.get("sdk", "one")
    assert gone.value.error.code == "ResourceNotFound"
    assert not sdk.resources.resource_groups.check_existence("MC_sdk_one_westeurope")


def test_errors_are_the_sdks_exceptions(sdk: Clients, cluster: str) -> None:
    clusters = sdk.aks.managed_clusters
    with pytest.raises(ResourceNotFoundError) as missing:
        clusters.get("nowhere", "x")
    assert missing.value.error.code == "ResourceGroupNotFound"
    bad = aks.ManagedCluster(
        location="westeurope", agent_pool_profiles=[aks.ManagedClusterAgentPoolProfile(name="UPPER")]
    )
    with pytest.raises(HttpResponseError) as refused:
        clusters.begin_create_or_update(GROUP, "bad", bad)
    assert refused.value.error.code == "InvalidParameter"
    assert refused.value.error.target == "agentPoolProfile.name"
    shown = clusters.get(GROUP, CLUSTER)
    with pytest.raises(HttpResponseError) as stale:
        clusters.begin_create_or_update(
            GROUP, CLUSTER, shown, etag="not-this", match_condition=MatchConditions.IfNotModified
        )
    assert stale.value.status_code == 412


def test_what_a_cluster_is_made_of(sdk: Clients, cluster: str) -> None:
    """Scale set, instance, interface, network, load balancer, rules, addresses: documents that agree."""
    group = sdk.aks.managed_clusters.get(GROUP, CLUSTER).node_resource_group
    [scale_set] = sdk.compute.virtual_machine_scale_sets.list(group)
    assert scale_set.sku.capacity == 1
    instances = list(sdk.compute.virtual_machine_scale_set_vms.list(group, scale_set.name))
    assert [i.instance_id for i in instances] == ["0"]
    view = sdk.compute.virtual_machine_scale_set_vms.get_instance_view(group, scale_set.name, "0")
    assert "PowerState/running" in [s.code for s in view.statuses]
    summary = sdk.compute.virtual_machine_scale_sets.get_instance_view(group, scale_set.name)
    assert [(s.code, s.count) for s in summary.virtual_machine.statuses_summary] == [("ProvisioningState/succeeded", 1)]
    [network] = sdk.network.virtual_networks.list(group)
    [subnet] = network.subnets
    [balancer] = sdk.network.load_balancers.list(group)
    [address] = sdk.network.public_ip_addresses.list(group)
    assert balancer.frontend_ip_configurations[0].public_ip_address.id == address.id
    [rules] = sdk.network.network_security_groups.list(group)
    assert subnet.network_security_group.id == rules.id
    [table] = sdk.network.route_tables.list(group)
    assert subnet.route_table.id == table.id
    listed = {r.type.rsplit("/", 1)[1] for r in sdk.resources.resources.list_by_resource_group(group)}
    assert listed == {
        "virtualMachineScaleSets", "virtualNetworks", "loadBalancers", "publicIPAddresses", "networkSecurityGroups",
        "routeTables", "userAssignedIdentities",
    }  # fmt: skip


def test_networks(sdk: Clients, hollow: Installation) -> None:
    networks, subnets, nics = (
        sdk.network.virtual_networks,
        sdk.network.subnets,
        sdk.network.network_interfaces,
    )
    made = networks.begin_create_or_update(
        GROUP,
        "sdk-net",
        net.VirtualNetwork(
            location="westeurope",
            address_space=net.AddressSpace(address_prefixes=["10.60.0.0/16"]),
            subnets=[net.Subnet(name="a", address_prefix="10.60.0.0/24")],
        ),
    ).result()
    assert made.subnets[0].provisioning_state == "Succeeded"
    added = subnets.begin_create_or_update(GROUP, "sdk-net", "b", net.Subnet(address_prefix="10.60.1.0/24")).result()
    assert added.name == "b"
    nic = nics.begin_create_or_update(
        GROUP,
        "sdk-nic",
        net.NetworkInterface(
            location="westeurope",
            ip_configurations=[net.NetworkInterfaceIPConfiguration(name="one", subnet=net.Subnet(id=added.id))],
        ),
    ).result()
    assert nic.ip_configurations[0].private_ip_address == "10.60.1.4"
    with pytest.raises(HttpResponseError) as busy:
        subnets.begin_delete(GROUP, "sdk-net", "b").result()
    assert busy.value.error.code == "InUseSubnetCannotBeDeleted"
    # What a client read may be written back: read-only parts are no obstacle.
    shown = networks.get(GROUP, "sdk-net")
    shown.tags = {"again": "yes"}
    assert networks.begin_create_or_update(GROUP, "sdk-net", shown).result().tags == {"again": "yes"}
    nics.begin_delete(GROUP, "sdk-nic").result()
    networks.begin_delete(GROUP, "sdk-net").result()
    assert "sdk-net" not in [n.name for n in networks.list(GROUP)]


async def test_the_asynchronous_sdk(hollow: Installation, cluster: str) -> None:
    who = hollow.credentials
    trust: dict[str, Any] = {"connection_verify": str(hollow.state.ca)}
    credential = AsyncClientSecretCredential(
        who["tenantId"],
        who["clientId"],
        who["clientSecret"],
        authority=hollow.base,
        disable_instance_discovery=True,
        **trust,
    )
    client = AsyncContainerServiceClient(
        credential,
        who["subscriptionId"],
        base_url=hollow.base,
        credential_scopes=["https://management.azure.com/.default"],
        polling_interval=1,
        **trust,
    )
    async with credential, client:
        assert CLUSTER in [c.name async for c in client.managed_clusters.list()]
        poller = await client.agent_pools.begin_create_or_update(
            GROUP, CLUSTER, "later", aks.AgentPool(count=1, mode="User")
        )
        assert (await poller.result()).provisioning_state == "Succeeded"
        credentials = await client.managed_clusters.list_cluster_admin_credentials(GROUP, CLUSTER)
        assert b"client-certificate-data" in credentials.kubeconfigs[0].value
        await (await client.agent_pools.begin_delete(GROUP, CLUSTER, "later")).result()
        assert "later" not in [p.name async for p in client.agent_pools.list(GROUP, CLUSTER)]
        bad = aks.AgentPool(count=1, vm_size="Standard_Nothing")
        with pytest.raises(HttpResponseError) as refused:
            await client.agent_pools.begin_create_or_update(GROUP, CLUSTER, "bad", bad)
        assert refused.value.error.code == "BadRequest"


def test_a_simulated_machine_runs_nothing(sdk: Clients, hollow: Installation) -> None:
    """By the SDK: documents are as a real one's, and who would run something there is told that nothing runs."""
    sdk.resources.resource_groups.create_or_update("machines", {"location": "westeurope"})
    space = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}
    subnets = [{"name": "s", "properties": {"addressPrefix": "10.9.0.0/24"}}]
    network = {"location": "westeurope", "properties": {**space, "subnets": subnets}}
    made = sdk.network.virtual_networks.begin_create_or_update("machines", "v", network).result()
    machines = sdk.compute.virtual_machines
    with virtual_machine(hollow, "machines", "m", str(made.subnets[0].id)):
        assert machines.get("machines", "m").instance_view is None
        shown = machines.get("machines", "m", expand="instanceView")
        assert [s.code for s in shown.instance_view.statuses] == ["ProvisioningState/succeeded", "PowerState/running"]
        assert shown.storage_profile.os_disk.managed_disk.id is None, "there is no such resource"
        machines.begin_power_off("machines", "m").result()
        view = machines.instance_view("machines", "m")
        assert view.statuses[1].display_status == "VM stopped"
        machines.begin_start("machines", "m").result()
        with pytest.raises(HttpResponseError) as refused:
            machines.begin_run_command("machines", "m", {"commandId": "RunShellScript", "script": ["ls"]}).result()
        assert "nothing runs in them" in str(refused.value)
        assert "Standard_B1s" in [s.name for s in machines.list_available_sizes("machines", "m")]
    [image] = sdk.compute.virtual_machine_images.list("westeurope", "Canonical", "ubuntu-24_04-lts", "server")
    assert (
        sdk.compute.virtual_machine_images.get(
            "westeurope", "Canonical", "ubuntu-24_04-lts", "server", image.name
        ).os_disk_image.operating_system
        == "Linux"
    )
