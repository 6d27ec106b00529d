"""`az aks command invoke`: a shell command with kubectl, run beside the control plane.

https://learn.microsoft.com/azure/aks/access-private-cluster

AKS runs it in a pod of the cluster, as a cluster administrator. Here it runs in a machine made for it alone, which goes
when it ends, with a certificate that lasts an hour. On linux that machine is walled off as a node is (own root file
system, process numbers and control group; a CPU and a gibibyte at most), in the control plane's network, and the
command in it is nobody, without any capability: it sees neither the host's files nor the control plane's keys. On
hollow there are no walls to be had: it is a process of the user that sorairo runs as.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from sorairo.drivers.protocols import DriverError, Machine
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name
from sorairo.engine.types import Call, Document, Resource
from sorairo.providers.microsoft_containerservice import entra, pki
from sorairo.providers.microsoft_containerservice.kubeconfig import document, kubeconfig, text
from sorairo.providers.microsoft_containerservice.names import COMMAND_RESULTS
from sorairo.providers.microsoft_containerservice.observe import endpoint_of
from sorairo.providers.microsoft_containerservice.substrate import Substrate

SECONDS = 600.0
"""How long a command may take."""
AT_ONCE = 4
"""Commands run at the same time; further ones wait."""
MOST_FILES = 16 * 2**20
"""Bytes of the attached files, unpacked."""
MOST_OUTPUT = 512 * 1024
"""Bytes of output kept: AKS's limit."""
MOST_WRITTEN = 64 * 2**20
"""Bytes a command may write to a file, or put out, before it is ended."""
MEMORY_BYTES = 2**30
ACCESS_LASTS = datetime.timedelta(hours=1)

_SCRIPT = f"""\
set -e
kubectl=$1
if [ "$(id -u)" = 0 ] && [ "$2" = walled ]; then
  top=/tmp/command
  nobody="setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --no-new-privs --"
else
  top=$PWD/command
  nobody=
fi
mkdir -p "$top/bin" "$top/files"
cd "$top"
tar -xf -
ln -sf "$kubectl" bin/kubectl
[ -z "$nobody" ] || chown -R 65534:65534 .
export HOME="$top" KUBECONFIG="$top/kubeconfig" PATH="$top/bin:$PATH"
cd files
code=0
# In a shell of its own: the limit is the command's, and not of what is left to do after it.
(ulimit -f {MOST_WRITTEN // 512}; $nobody /bin/sh ../script </dev/null) >../output 2>&1 || code=$?
head -c {MOST_OUTPUT} ../output
exit $code
"""
"""Arguments: the Kubernetes program, `walled` or `open`. Standard input: a tar of `kubeconfig`, `script`, `files/`."""


class Commands:
    """Runs commands for clusters, each in a machine of its own."""

    def __init__(self, substrate: Substrate) -> None:
        self._on = substrate
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self, call: Call) -> Document:
        """The `RunCommandResult`. A command that fails has run, too; raises ArmError for what cannot be run at all."""
        cluster = call.resource
        access = _kubeconfig(cluster, call.principal, str(call.body.get("clusterToken") or ""))
        archive = _archive(access, str(call.body.get("command") or ""), str(call.body.get("context") or ""))
        machine = self._machine(cluster, call.operation)
        minor = ".".join(cluster.properties["currentKubernetesVersion"].split(".")[:2])
        program = f"/opt/sorairo/kubernetes-{minor}/kubernetes"
        walls = "open" if self._on.hollow else "walled"
        async with self._slots:
            started = _now()
            self._on.commands.add(machine.id)
            try:
                await self._on.machines.ensure_machine(machine)
                argv = ("/bin/sh", "-c", _SCRIPT, "command", program, walls)
                ran = await self._on.machines.run(machine.id, argv, stdin=archive, timeout=SECONDS)
                logs = (ran.stdout + ran.stderr).decode(errors="replace")
                # A signal's number as shells have it.
                code = ran.exit_code if ran.exit_code >= 0 else 128 - ran.exit_code
                outcome: Document = {"provisioningState": "Succeeded", "exitCode": code, "logs": logs}
            except DriverError as e:
                outcome = {"provisioningState": "Failed", "reason": str(e)}
            finally:
                await self._on.machines.remove_machine(machine.id)
                self._on.commands.discard(machine.id)
        times = {"startedAt": started, "finishedAt": _now()}
        return {"id": call.operation.replace("-", ""), "properties": {**outcome, **times}}

    def _machine(self, cluster: Resource, operation: str) -> Machine:
        owner = f"{cluster.id}/{COMMAND_RESULTS}/{operation}"
        namespace = self._on.namespace(cluster)
        if self._on.hollow:
            return Machine(host_name(owner), owner, services=(), namespace=namespace)
        return Machine(
            host_name(owner),
            owner,
            services=(),
            namespace=namespace,
            isolation="node",
            hostname="command",
            cpus=1.0,
            memory_bytes=MEMORY_BYTES,
        )


def _kubeconfig(cluster: Resource, principal: str, token: str) -> str:
    """A cluster administrator's, for an hour, under a name that the audit log can tell; where users are the
    directory's, the caller's own, with the `clusterToken` that they send along."""
    if cluster.private.get("stopped"):
        raise ArmError(
            "OperationNotAllowed",
            f"Managed cluster {cluster.rid.name} is stopped: start it, with `az aks start`, to run commands.",
            status=409,
        )
    if (cluster.properties.get("apiServerAccessProfile") or {}).get("disableRunCommand"):
        raise ArmError(
            "OperationNotAllowed",
            f"Run command is disabled for managed cluster {cluster.rid.name} "
            "(apiServerAccessProfile.disableRunCommand).",
            target="apiServerAccessProfile.disableRunCommand",
        )
    endpoint, files = endpoint_of(cluster), cluster.private.get("pki")
    if endpoint is None or not files:
        raise ArmError("OperationNotAllowed", f"Managed cluster {cluster.rid.name} is being created.", status=409)
    if entra.profile(cluster) is not None:
        if not token or len(token.split()) != 1:
            raise ArmError(
                "BadRequest",
                "The cluster has Microsoft Entra integration: clusterToken is required, a token of the caller's for "
                f"the AKS AAD server application {entra.SERVER_APP}.",
                target="clusterToken",
            )
        return text(document(endpoint.url, files["ca.crt"], "command", {"token": token}))
    pair = pki.issue(
        pki.Pair(files["ca.crt"], files["ca.key"]), f"aks-command:{principal}", groups=pki.ADMINS, lasting=ACCESS_LASTS
    )
    return kubeconfig(server=endpoint.url, ca=files["ca.crt"], user="command", cert=pair.cert, key=pair.key)


def _archive(access: str, command: str, context: str) -> bytes:
    """A tar for the script. `context`: base64 of a zip, or ''. Raises ArmError `InvalidParameter`."""
    if not command.strip():
        raise ArmError("InvalidParameter", "The value of parameter command is invalid: it is empty.", target="command")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "kubeconfig", access.encode())
        _add(tar, "script", command.encode())
        for name, data in _attached(context):
            _add(tar, f"files/{name}", data)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


def _attached(context: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in `context`; what is not a plain file below its top is refused."""
    if not context:
        return
    left = MOST_FILES
    try:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode("".join(context.split()), validate=True))) as attached:
            for entry in attached.infolist():
                path = PurePosixPath(entry.filename)
                if path.is_absolute() or ".." in path.parts or "\0" in entry.filename:
                    raise _bad_context(f"'{entry.filename}' is not below its top")
                if entry.is_dir():
                    continue
                with attached.open(entry) as file:  # What the entry says of its size may be a lie.
                    data = file.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise _bad_context(f"it unpacks to more than {MOST_FILES // 2**20} MiB")
                yield str(path), data
    except (binascii.Error, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as e:
        raise _bad_context(str(e)) from None


def _bad_context(reason: str) -> ArmError:
    return ArmError(
        "InvalidParameter",
        f"The value of parameter context is invalid: it must be base64 of a zip file: {reason}.",
        target="context",
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
