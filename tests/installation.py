"""An installation of sorairo for a test: its own state folder, port and piece of the host's network, beside any other.

Drives the daemon as `sorairo up` does, ARM over HTTPS with real tokens, and the engine's own kubectl.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx

from leaks import Secrets, leaks
from sorairo.drivers.procs import state_mark
from sorairo.state import Config, State
from sorairo.tls import ensure_certificates

VERSIONS = {
    "microsoft.containerservice": "2026-06-01",
    "microsoft.network": "2025-07-01",
    "microsoft.compute": "2024-11-01",
    "microsoft.managedidentity": "2024-11-30",
    "microsoft.authorization": "2022-04-01",
    "microsoft.sorairo": "2026-12-01",
    "microsoft.network/privatednszones": "2024-06-01",
    "microsoft.network/dnszones": "2018-05-01",
}
"""By provider, or type where that has others."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def kubectl_program() -> list[str]:
    newest = sorted(entry_points(group="sorairo.kubernetes"), key=lambda e: tuple(map(int, e.name.split("."))))[-1]
    return [str(Path(newest.load().BIN) / "kubernetes"), "kubectl"]


class Installation:
    def __init__(self, root: Path, substrate: str) -> None:
        self.state = State(root)
        self.substrate = substrate
        self.port = free_port()
        self.base = f"https://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._http: httpx.Client | None = None
        self.secrets = Secrets()
        """What tests came to know; what the installation keeps is found at its end."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What names of host objects of this installation hold: for `Host.difference`."""
        fabric = self.state.fabric
        return (str(self.state.root), state_mark(self.state.root), fabric.tag, str(fabric.run_dir))

    # --- the daemon ------------------------------------------------------------------------------------

    def start(self, **env: str) -> Installation:
        """Start the daemon and wait until it answers, or until it ends (crash tests)."""
        self.state.make()
        self.state.write_config(Config(self.port, self.substrate, public_range=self.state.choose_public_range()))
        ensure_certificates(self.state)
        with self.state.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sorairo.main", "--state", str(self.state.root)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **env},
            )
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            try:
                httpx.get(f"{self.base}/metadata/endpoints?api-version=2022-09-01", verify=False)
                return self
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        return self

    def kill(self) -> None:
        """As power loss does."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self._forget()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
        self._forget()

    def wait_dead(self, seconds: float = 60) -> int:
        assert self.process
        code = self.process.wait(timeout=seconds)
        self._forget()
        return code

    def purge(self) -> None:
        """End everything, whatever state it is in: for fixtures. No secret may be where it does not belong by then."""
        found = leaks(self)
        self.stop()
        subprocess.run(
            [sys.executable, "-m", "sorairo.main", "--state", str(self.state.root), "--purge"], check=True, timeout=120
        )
        assert found == []

    def _forget(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    # --- ARM -------------------------------------------------------------------------------------------

    @property
    def credentials(self) -> dict[str, str]:
        return json.loads(self.state.credentials.read_text())  # type: ignore[no-any-return]

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.credentials['subscriptionId']}"

    @property
    def http(self) -> httpx.Client:
        """Signed in as the administrator, trusting the installation's own authority."""
        if self._http is None:
            who = self.credentials
            import ssl

            self._http = httpx.Client(
                base_url=self.base, verify=ssl.create_default_context(cafile=str(self.state.ca)), timeout=60
            )
            answer = self._http.post(
                f"/{who['tenantId']}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": who["clientId"],
                    "client_secret": who["clientSecret"],
                    "scope": "https://management.azure.com/.default",
                },
            )
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self._http

    def arm(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """`path`: below the subscription, or a whole one (`/subscriptions/…`, `/providers/…`)."""
        if not path.startswith(("/subscriptions/", "/providers/")):
            path = f"{self.subscription}/{path.lstrip('/')}"
        provider, *rest = path.lower().rpartition("/providers/")[2].split("/") if "/providers/" in path else [""]
        version = VERSIONS.get(f"{provider}/{rest[0] if rest else ''}", VERSIONS.get(provider, "2024-11-01"))
        return self.http.request(method, path, params={"api-version": version}, json=body, headers=headers)

    def wait(self, response: httpx.Response, seconds: float = 120) -> dict[str, Any]:
        """The ended operation of a 201 or 202; `{"status": "Succeeded"}` for an answer without one."""
        assert response.is_success, response.text
        url = response.headers.get("azure-asyncoperation")
        if url is None:
            return {"status": "Succeeded"}
        return self.wait_operation(url, seconds)

    def wait_operation(self, url: str, seconds: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            operation: dict[str, Any] = self.http.get(url).json()
            if operation["status"] in ("Succeeded", "Failed", "Canceled"):
                return operation
            assert time.monotonic() < deadline, f"still {operation}"
            time.sleep(0.05)

    def group(self, name: str) -> None:
        self.arm("PUT", f"resourceGroups/{name}", {"location": "westeurope"}).raise_for_status()

    def cluster_path(self, group: str, name: str) -> str:
        return f"resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"

    def create_cluster(self, group: str, name: str, count: int = 1, **pool: Any) -> dict[str, Any]:
        body = {
            "location": "westeurope",
            "identity": {"type": "SystemAssigned"},
            "properties": {"agentPoolProfiles": [{"name": "nodepool1", "mode": "System", "count": count, **pool}]},
        }
        return self.wait(self.arm("PUT", self.cluster_path(group, name), body))

    # --- Kubernetes ------------------------------------------------------------------------------------

    def kubeconfig(self, group: str, name: str) -> Path:
        answer = self.arm("POST", f"{self.cluster_path(group, name)}/listClusterUserCredential")
        file = self.state.root / f"{group}-{name}.kubeconfig"
        file.touch(0o600)
        file.write_bytes(base64.b64decode(answer.json()["kubeconfigs"][0]["value"]))
        for key in re.findall(r"client-key-data: (\S+)", file.read_text()):
            self.secrets.add("a kubeconfig's key", base64.b64decode(key).decode())
        for token in re.findall(r"token: (\S+)", file.read_text()):
            self.secrets.add("a kubeconfig's token", token)
        return file

    def kubectl(self, kubeconfig: Path, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Standard output; a failure raises with standard error in its text."""
        done = subprocess.run(
            [*kubectl_program(), f"--kubeconfig={kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout
