"""What flows share: names of what all on the hollow substrate use, a cluster as `kubectl` sees it, virtual machines,
waiting."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from installation import Installation

GROUP, CLUSTER = "flows", "shared"
BETA = "service.beta.kubernetes.io/azure-"
"""How names of annotations of Services begin."""

T = TypeVar("T")


class Kubectl:
    """Of one cluster, as its users have it."""

    def __init__(self, on: Installation, group: str, name: str) -> None:
        self.on, self.config = on, on.kubeconfig(group, name)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.on.kubectl(self.config, *arguments, stdin=stdin, check=check)

    def apply(self, *objects: object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))  # type: ignore[no-any-return]

    def expose(self, name: str, annotations: dict[str, str] | None = None, **spec: Any) -> str:
        """A Service of type LoadBalancer for the pods of `web`, and its address."""
        notes = {BETA + k: v for k, v in (annotations or {}).items()}
        spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
        metadata = {"name": name, "annotations": notes}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        where = "jsonpath={.status.loadBalancer.ingress[0].ip}"
        self.kubectl("wait", f"service/{name}", f"--for={where}", "--timeout=90s")
        return self.kubectl("get", f"service/{name}", "-o", where)


def eventually(what: str, check: Callable[[], T], seconds: float = 60) -> T:
    """What `check` answers, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkQTqcBC3WmrDXSv6kL8nCxW0vDk2gTQ3cJm3a9mJ0k me@here"
"""Nobody's."""


def machine_body(nic: str, **properties: Any) -> dict[str, Any]:
    """A virtual machine in an interface (id)."""
    image = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}
    linux = {"ssh": {"publicKeys": [{"keyData": PUBLIC_KEY}]}}
    return {
        "location": "westeurope",
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_B1s"},
            "storageProfile": {"imageReference": image},
            "osProfile": {"adminUsername": "azureuser", "linuxConfiguration": linux},
            "networkProfile": {"networkInterfaces": [{"id": nic}]},
            **properties,
        },
    }


@contextlib.contextmanager
def virtual_machine(on: Installation, group: str, name: str, subnet: str) -> Iterator[str]:
    """A virtual machine with an interface of its own in a subnet (id), for a while: its path."""
    at = f"{on.subscription}/resourceGroups/{group}/providers"
    nic, machine = f"{at}/Microsoft.Network/networkInterfaces/{name}", f"{at}/Microsoft.Compute/virtualMachines/{name}"
    ip = {"name": "ip", "properties": {"subnet": {"id": subnet}}}
    interface = {"location": "westeurope", "properties": {"ipConfigurations": [ip]}}
    for path, body in ((nic, interface), (machine, machine_body(nic))):
        ended = on.wait(on.arm("PUT", path, body))
        assert ended["status"] == "Succeeded", ended
    yield machine
    for path in (machine, nic):
        ended = on.wait(on.arm("DELETE", path))
        assert ended["status"] == "Succeeded", ended
