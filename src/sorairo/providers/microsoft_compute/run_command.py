"""`az vmss run-command invoke`: a script, really executed as root on the machine.

https://learn.microsoft.com/azure/virtual-machines/linux/run-command
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sorairo.drivers.protocols import DriverError, Machines
from sorairo.engine.errors import ArmError, not_implemented
from sorairo.engine.ids import host_name
from sorairo.engine.types import Call, Document

SECONDS = 90 * 60.0
"""How long a script may take, as on Azure."""
AT_ONCE = 8
"""Scripts that run at the same time, on all machines; further ones wait."""
KEPT = 4096
"""Bytes of each output that are told: the last."""
COMMANDS: dict[str, tuple[str, str, list[str]]] = {
    "RunShellScript": ("Run a Linux shell script", "Executes a Linux shell script", []),
    "ifconfig": ("List network configuration", "Get the configuration of all network interfaces.", ["ip address"]),
}
"""Label, description and script by id."""
SCHEMA = "http://schema.management.azure.com/schemas/2016-11-17/runcommands.json"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHERS = ("EnableRemotePS", "RunPowerShellScript", "EnableAdminAccount", "ResetRDPCert", "SetRDPPort", "RDPSettings")


class Commands:
    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._busy: set[str] = set()

    async def run(self, call: Call) -> Document:
        """A script that fails has run, too, and Azure says that it succeeded: what it says is in the message."""
        argv = arguments(call.body)
        machine = host_name(call.resource.id)
        if call.resource.private.get("deallocated") or call.resource.private.get("stopped"):
            raise ArmError(
                "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.", status=409
            )
        if machine in self._busy:
            raise ArmError(
                "Conflict",
                "Run command extension execution is in progress. Please wait for completion before invoking a run "
                "command.",
                status=409,
            )
        self._busy.add(machine)
        try:
            async with self._slots:
                ran = await self._machines.run(machine, argv, timeout=SECONDS)
        except DriverError as e:
            raise ArmError(
                "VMExtensionHandlerNonTransientError", f"The script could not be run: {e}", status=409
            ) from e
        finally:
            self._busy.discard(machine)
        text = f"Enable succeeded: \n[stdout]\n{_text(ran.stdout)}\n[stderr]\n{_text(ran.stderr)}"
        return {
            "value": [
                {
                    "code": "ProvisioningState/succeeded",
                    "level": "Info",
                    "displayStatus": "Provisioning succeeded",
                    "message": text,
                }
            ]
        }


def arguments(body: Document) -> tuple[str, ...]:
    """What to execute: the script's parameters are its arguments, in order, and variables by their names. Raises
    ArmError."""
    id = str(body.get("commandId") or "")
    known = next((c for c in COMMANDS if c.lower() == id.lower()), None)
    if known is None:
        if id.lower() in (o.lower() for o in _OTHERS):
            raise ArmError(
                "InvalidParameter", f"The command '{id}' is not supported on this OS type.", target="commandId"
            )
        raise ArmError("NotFound", f"The entity '{id}' was not found: there is no such command.", status=404)
    script = body.get("script") or COMMANDS[known][2]
    if not script or not all(isinstance(line, str) for line in script):
        raise ArmError("InvalidParameter", "The value of parameter script is invalid: it is empty.", target="script")
    if body.get("outputBlobUri") or body.get("errorBlobUri"):
        raise not_implemented("run commands whose output goes to a blob")
    names, values = [], []
    for parameter in body.get("parameters") or []:
        if not isinstance(parameter, dict) or not parameter.get("name"):
            raise ArmError("InvalidParameter", "A run command's parameters need names.", target="parameters")
        name, value = str(parameter["name"]), str(parameter.get("value") or "")
        values.append(value)
        if _VARIABLE.fullmatch(name):
            names.append(f"{name}={value}")
    return ("env", *names, "/bin/sh", "-c", "\n".join(script), "script.sh", *values)


async def listed(**_: Any) -> Document:
    """`az vm run-command list`."""
    return {"value": [_shown(id) for id in COMMANDS]}


async def shown(*, command: str, **_: Any) -> Document:
    """`az vm run-command show`."""
    for id, (_label, _description, script) in COMMANDS.items():
        if id.lower() == command.lower():
            parameters = [{"name": "arg1", "type": "string", "required": False}] if not script else []
            return {**_shown(id), "script": script, "parameters": parameters}
    raise ArmError("NotFound", f"The entity '{command}' was not found: there is no such command.", status=404)


def _shown(id: str) -> Document:
    label, description, _ = COMMANDS[id]
    return {"$schema": SCHEMA, "id": id, "osType": "Linux", "label": label, "description": description}


def _text(data: bytes) -> str:
    return data[-KEPT:].decode(errors="replace")


ROUTES = (
    ("GET", "locations/{location}/runCommands", listed),
    ("GET", "locations/{location}/runCommands/{command}", shown),
)
