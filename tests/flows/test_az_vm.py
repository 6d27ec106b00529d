"""`az vm`, unmodified, and what it makes: a machine with walls of its own, whose addresses carry packets.

One installation with the Linux drivers and no cluster; `web` is made first, by `az`, and serves a page from inside.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from azure_cli import Az
from flows.on_nodes import script_on
from flows_shared import PUBLIC_KEY, eventually, machine_body, virtual_machine
from host import Host
from installation import Installation

from .test_reboot import reboot

pytestmark = [
    pytest.mark.root,
    pytest.mark.az,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, control groups, links"),
    pytest.mark.timeout(600),
]

GROUP = "vms"
NETWORK = f"resourceGroups/{GROUP}/providers/Microsoft.Network"
MACHINES = f"resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachines"
SERVE = "mkdir -p /srv/www && hostname >/srv/www/index.html && busybox httpd -p {port} -h /srv/www"


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    before = Host.now()
    it = Installation(tmp_path_factory.mktemp("vms") / "state", "linux")
    try:
        it.start().group(GROUP)
        yield it
        ended = it.wait(it.arm("DELETE", f"resourceGroups/{GROUP}"))
        assert ended["status"] == "Succeeded", ended
        it.stop()
        assert Host.now().difference(before, it.marks) == {}
    finally:
        it.purge()


@pytest.fixture(scope="module")
def az(on: Installation) -> Az:
    return Az(on)


@pytest.fixture(scope="module")
def web(az: Az, on: Installation, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As most people make one; what `az vm create` answers."""
    key = tmp_path_factory.mktemp("keys") / "id.pub"
    key.write_text(PUBLIC_KEY)
    made = az(
        "vm", "create", "--name", "web", "--image", "Ubuntu2404", "--size", "Standard_B1s", "--location", "westeurope",
        "--vnet-name", "net", "--subnet", "front", "--nsg", "guard", "--public-ip-address", "door",
        "--public-ip-sku", "Standard", "--assign-identity", "[system]", "--admin-username", "azureuser",
        "--ssh-key-values", str(key), "--os-disk-delete-option", "Delete", "--nic-delete-option", "Delete",
        group=GROUP,
    )  # fmt: skip
    run(on, "web", SERVE.format(port=80))
    return made


def run(on: Installation, machine: str, *lines: str) -> str:
    """What a script that runs there says, by the same action as `az vm run-command invoke`."""
    out, err = script_on(on, f"{MACHINES}/{machine}", *lines)
    assert err == "", err
    return out


def page(address: str) -> str:
    command = ["curl", "-s", "--noproxy", "*", "--max-time", "1", f"http://{address}/"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def view(on: Installation, machine: str) -> list[str]:
    shown = on.arm("GET", f"{MACHINES}/{machine}/instanceView").json()
    return [s["code"] for s in shown["statuses"]]


def test_a_machine_is_made_from_an_alias(az: Az, on: Installation, web: Any) -> None:
    assert (web["powerState"], web["location"]) == ("VM running", "westeurope")
    assert (web["privateIpAddress"], web["identity"]["systemAssignedIdentity"]) == ("10.0.0.4", _principal(on, "web"))
    shown = az("vm", "show", "--name", "web", "--show-details", group=GROUP)
    assert (shown["publicIps"], shown["privateIps"]) == (web["publicIpAddress"], web["privateIpAddress"])
    assert shown["storageProfile"]["imageReference"]["offer"] == "ubuntu-24_04-lts"
    assert "instanceView" not in on.arm("GET", f"{MACHINES}/web").json()["properties"], "nobody has asked for it"
    assert [v["name"] for v in on.arm("GET", MACHINES).json()["value"]] == ["web"]
    assert _interface(on, "webVMNic")["virtualMachine"]["id"] == web["id"]


def _principal(on: Installation, machine: str) -> str:
    return str(on.arm("GET", f"{MACHINES}/{machine}").json()["identity"]["principalId"])


def test_a_command_runs_inside_it(az: Az, web: Any) -> None:
    keys = "/home/azureuser/.ssh/authorized_keys"
    size = "grep -c ^processor /proc/cpuinfo; awk '/MemTotal/ {print $2}' /proc/meminfo"
    script = f"hostname; id -un; {size}; stat -c %U {keys}"
    said = az(
        "vm", "run-command", "invoke", "--name", "web", "--command-id", "RunShellScript",
        "--scripts", script, f"cat {keys}; echo $1", "--parameters", "blue", group=GROUP,
    )  # fmt: skip
    out = said["value"][0]["message"].partition("[stdout]\n")[2].partition("\n[stderr]")[0]
    assert out.splitlines() == ["web", "root", "1", str(1 << 20), "azureuser", PUBLIC_KEY, "blue"]


def test_it_is_told_who_it_is_and_gets_tokens_of_its_own(on: Installation, web: Any) -> None:
    ask = "wget -qO- --header 'Metadata: true' 'http://169.254.169.254/metadata"
    compute = json.loads(run(on, "web", f"{ask}/instance/compute?api-version=2021-10-01'"))
    assert (compute["name"], compute["vmSize"], compute["vmScaleSetName"]) == ("web", "Standard_B1s", "")
    assert (compute["offer"], compute["resourceId"].lower()) == ("ubuntu-24_04-lts", web["id"].lower())
    url = f"{ask}/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/'"
    own = run(on, "web", f'{url} | grep -o \'"client_id": "[^"]*"\'')  # what a script says is kept: not the token
    assert own.count("client_id") == 1
    assert "nameserver 168.63.129.16" in run(on, "web", "cat /etc/resolv.conf")


def test_its_addresses_carry_what_the_rules_let_through(az: Az, on: Installation, web: Any) -> None:
    public = web["publicIpAddress"]
    assert page(public) == "", "the group lets SSH in, and nothing else"
    rule = {"priority": 300, "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "sourceAddressPrefix": "*",
            "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "80"}  # fmt: skip
    path = f"{NETWORK}/networkSecurityGroups/guard/securityRules/web"
    assert on.wait(on.arm("PUT", path, {"properties": rule}))["status"] == "Succeeded"
    assert eventually("a page", lambda: page(public), 5) == "web"
    query = {"api-version": "2026-12-01", "to": f"{public}:80"}
    traced = on.http.get(f"{on.subscription}/providers/Microsoft.Sorairo/packets/default", params=query).json()
    assert traced["properties"]["outcome"] == "delivered"
    assert "'kind': 'node', 'name': 'web'" in str(traced["properties"]["path"])
    flow = az(
        "network", "watcher", "test-ip-flow", "--vm", "web", "--direction", "Inbound", "--protocol", "TCP",
        "--local", f"{web['privateIpAddress']}:80", "--remote", "203.0.113.9:40000", group=GROUP,
    )  # fmt: skip
    assert (flow["access"], flow["ruleName"]) == ("Allow", "securityRules/web")
    asked = {"targetResourceId": web["id"], "sourceIPAddress": web["privateIpAddress"], "destinationIPAddress": public}
    watcher = "resourceGroups/NetworkWatcherRG/providers/Microsoft.Network/networkWatchers/NetworkWatcher_westeurope"
    assert on.arm("POST", f"{watcher}/nextHop", asked).json()["nextHopType"] == "Internet"
    routes = on.arm("POST", f"{NETWORK}/networkInterfaces/webVMNic/effectiveRouteTable").json()["value"]
    assert routes[0]["nextHopType"] == "VnetLocal"


def test_a_neighbour_reaches_it_by_name(on: Installation, web: Any) -> None:
    interface = f"{NETWORK}/networkInterfaces/box"
    with virtual_machine(on, GROUP, "box", f"{on.subscription}/{NETWORK}/virtualNetworks/net/subnets/front") as box:
        ask = "busybox wget -qO- http://web/ 2>/dev/null || true"
        assert eventually("an answer", lambda: run(on, "box", ask), 10) == "web\n"
        refused = on.arm("DELETE", interface)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "NicInUse")
        thief = on.arm("PUT", f"{MACHINES}/thief", machine_body(f"{on.subscription}/{interface}"))
        assert thief.json()["error"]["code"] == "NicInUse"
        assert on.wait(on.arm("DELETE", box))["status"] == "Succeeded"
        eventually("its interface stays, for another", lambda: "virtualMachine" not in _interface(on, "box"), 5)
    assert on.arm("GET", interface).status_code == 404


def test_its_interface_is_exchanged_while_it_is_deallocated(on: Installation, web: Any) -> None:
    subnet = f"{on.subscription}/{NETWORK}/virtualNetworks/net/subnets/front"
    other = f"{on.subscription}/{NETWORK}/networkInterfaces/other"
    with virtual_machine(on, GROUP, "box", subnet) as box:
        ip = {"name": "ip", "properties": {"subnet": {"id": subnet}}}
        body = {"location": "westeurope", "properties": {"ipConfigurations": [ip]}}
        assert on.wait(on.arm("PUT", other, body))["status"] == "Succeeded"
        refused = on.arm("PUT", box, machine_body(other))
        assert refused.json()["error"]["code"].startswith("AddingOrDeletingNetworkInterfacesOnARunning")
        for method, path, asked in (
            ("POST", f"{box}/deallocate", None),
            ("PUT", box, machine_body(other)),
            ("POST", f"{box}/start", None),
        ):
            ended = on.wait(on.arm(method, path, asked))
            assert ended["status"] == "Succeeded", ended
        address = _interface(on, "other")["ipConfigurations"][0]["properties"]["privateIPAddress"]
        assert f" {address}/24 " in run(on, "box", "ip -4 -o address show eth0")
        assert "virtualMachine" not in _interface(on, "box")
    assert on.wait(on.arm("DELETE", other))["status"] == "Succeeded"


def _interface(on: Installation, name: str) -> dict[str, Any]:
    return on.arm("GET", f"{NETWORK}/networkInterfaces/{name}").json()["properties"]  # type: ignore[no-any-return]


def test_it_is_stopped_and_started(az: Az, on: Installation, web: Any) -> None:
    run(on, "web", "echo kept >/root/kept")
    az("vm", "stop", "--name", "web", group=GROUP)
    assert view(on, "web") == ["ProvisioningState/succeeded", "PowerState/stopped"]
    assert page(web["publicIpAddress"]) == ""
    refused = on.wait(on.arm("POST", f"{MACHINES}/web/runCommand", {"commandId": "RunShellScript", "script": ["ls"]}))
    assert refused["error"]["code"] == "OperationNotAllowed"
    assert on.arm("POST", f"{MACHINES}/web/restart").json()["error"]["code"] == "OperationNotAllowed"
    assert on.wait(on.arm("POST", f"{MACHINES}/web/start"))["status"] == "Succeeded"
    born = run(on, "web", "cat /proc/sys/kernel/random/boot_id /root/kept")
    assert born.splitlines()[1] == "kept"
    assert on.wait(on.arm("POST", f"{MACHINES}/web/restart"))["status"] == "Succeeded"
    assert run(on, "web", "cat /proc/sys/kernel/random/boot_id /root/kept") != born
    az("vm", "deallocate", "--name", "web", group=GROUP)
    shown = az("vm", "get-instance-view", "--name", "web", group=GROUP)
    assert shown["instanceView"]["statuses"][1]["displayStatus"] == "VM deallocated"
    az("vm", "start", "--name", "web", group=GROUP)


def test_identities_come_and_go(az: Az, on: Installation, web: Any) -> None:
    path = f"resourceGroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/own"
    assert on.arm("PUT", path, {"location": "westeurope"}).is_success
    id = f"{on.subscription}/{path}"
    found = az("vm", "identity", "assign", "--name", "web", "--identities", id, group=GROUP)
    assert [key.lower() for key in found["userAssignedIdentities"]] == [id.lower()]
    assert found["systemAssignedIdentity"] == _principal(on, "web")
    az("vm", "identity", "remove", "--name", "web", "--identities", id, group=GROUP)
    identity = on.arm("GET", f"{MACHINES}/web").json()["identity"]
    assert (identity["type"], "userAssignedIdentities" in identity) == ("SystemAssigned", False)


def test_an_image_there_is_not(az: Az, on: Installation, web: Any) -> None:
    image = {"publisher": "Debian", "offer": "debian-12", "sku": "13", "version": "latest"}
    body = machine_body(f"{on.subscription}/{NETWORK}/networkInterfaces/none", storageProfile={"imageReference": image})
    refused = on.arm("PUT", f"{MACHINES}/other", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "PlatformImageNotFound")
    windows = "MicrosoftWindowsServer:WindowsServer:2022-datacenter:latest"
    said = az.fails("vm", "create", "--name", "other", "--image", windows, group=GROUP)
    assert "VMImage was not found" in said
    aliases = on.http.get("/metadata/vmImageAliases").json()["outputs"]["aliases"]["value"]
    assert "Debian12" in aliases["Linux"], "what az looks names up in"


def test_it_comes_back_after_a_reboot(on: Installation, web: Any) -> None:
    run(on, "web", "echo sky >/root/kept")
    reboot(on)
    on.start()
    eventually("it runs", lambda: _says(on, "cat /root/kept") == "sky\n", 30)
    run(on, "web", SERVE.format(port=80))
    assert eventually("a page", lambda: page(web["publicIpAddress"]), 10) == "web"


def _says(on: Installation, line: str) -> str:
    try:
        return run(on, "web", line)
    except (AssertionError, KeyError):
        return ""


def test_a_compiled_template_makes_one(az: Az, on: Installation, web: Any) -> None:
    """As `bicep build` writes it: symbolic names are resource ids by then, and what depends on what is said."""
    nic = "[resourceId('Microsoft.Network/networkInterfaces', format('{0}-nic', parameters('vmName')))]"
    subnet = "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'net', 'front')]"
    ip = {"name": "ipconfig1", "properties": {"privateIPAllocationMethod": "Dynamic", "subnet": {"id": subnet}}}
    machine = machine_body(nic)["properties"]
    machine["osProfile"] = {
        "computerName": "[parameters('vmName')]",
        "adminUsername": "azureuser",
        "adminPassword": "[parameters('adminPassword')]",
    }
    machine["networkProfile"]["networkInterfaces"][0]["properties"] = {"deleteOption": "Delete"}
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "metadata": {"_generator": {"name": "bicep", "version": "0.30.3.12046"}},
        "parameters": {
            "vmName": {"type": "string", "defaultValue": "simple"},
            "adminPassword": {"type": "securestring"},
            "location": {"type": "string", "defaultValue": "[resourceGroup().location]"},
        },
        "resources": [
            {
                "type": "Microsoft.Network/networkInterfaces",
                "apiVersion": "2022-05-01",
                "name": "[format('{0}-nic', parameters('vmName'))]",
                "location": "[parameters('location')]",
                "properties": {"ipConfigurations": [ip]},
            },
            {
                "type": "Microsoft.Compute/virtualMachines",
                "apiVersion": "2022-03-01",
                "name": "[parameters('vmName')]",
                "location": "[parameters('location')]",
                "properties": machine,
                "dependsOn": [nic],
            },
        ],
        "outputs": {
            "address": {
                "type": "string",
                "value": "[reference(resourceId('Microsoft.Network/networkInterfaces', format('{0}-nic', "
                "parameters('vmName')))).ipConfigurations[0].properties.privateIPAddress]",
            }
        },
    }
    password = "Correct-Horse-Battery-1"
    on.secrets.add("a machine's password", password)
    done = az(
        "deployment", "group", "create", "--name", "simple", "--template-file", az.file("simple.json", template),
        "--parameters", f"adminPassword={password}", group=GROUP,
    )  # fmt: skip
    address = done["properties"]["outputs"]["address"]["value"]
    assert run(on, "simple", "hostname; ip -4 -o address show eth0").split()[:5:4] == ["simple", f"{address}/24"]
    assert on.wait(on.arm("DELETE", f"{MACHINES}/simple"))["status"] == "Succeeded"


def test_it_goes_with_its_interface(az: Az, on: Installation, web: Any) -> None:
    az("vm", "delete", "--name", "web", "--yes", group=GROUP)
    assert on.arm("GET", f"{MACHINES}/web").status_code == 404
    assert on.arm("GET", f"{NETWORK}/networkInterfaces/webVMNic").status_code == 404
    assert on.arm("GET", f"{NETWORK}/publicIPAddresses/door").is_success, "what is not said to go stays"
