"""What flows do on nodes, and with the service principal that a cluster is."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows_shared import eventually
from installation import Installation

GIVEN: list[str] = []
"""Secrets that clusters were reset to."""


@dataclass
class Application:
    """A service principal, with the directory's own API."""

    on: Installation
    name: str
    id: str = ""
    client_id: str = ""

    def graph(self, method: str, path: str, body: Any = None) -> Any:
        who = self.on.credentials
        answer = self.on.http.post(
            f"/{who['tenantId']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": who["clientId"],
                "client_secret": who["clientSecret"],
                "scope": "https://graph.microsoft.com/.default",
            },
        )
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        done = self.on.http.request(method, f"/v1.0/{path}", json=body, headers=headers)
        assert done.is_success, done.text
        return done.json() if done.content else None

    def make(self) -> Application:
        made = self.graph("POST", "applications", {"displayName": self.name})
        self.id, self.client_id = made["id"], made["appId"]
        self.graph("POST", "servicePrincipals", {"appId": self.client_id})
        return self

    def secret(self, seconds: float = 3600) -> str:
        """Another one, which ends so many seconds from now."""
        ends = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        body = {"passwordCredential": {"displayName": "test", "endDateTime": ends}}
        return str(self.graph("POST", f"applications/{self.id}/addPassword", body)["secretText"])


def result(on: Installation, answer: Any) -> Any:
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + 60
    while (done := on.http.get(answer.headers["location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return done.json()


def script(on: Installation, scale_set: str, *lines: str, **parameters: str) -> tuple[str, str]:
    """What a script on the first node says: standard output and standard error."""
    return script_on(on, f"{scale_set}/virtualMachines/0", *lines, **parameters)


def script_on(on: Installation, node: str, *lines: str, **parameters: str) -> tuple[str, str]:
    """`node`: its resource id."""
    body = {
        "commandId": "RunShellScript",
        "script": list(lines),
        "parameters": [{"name": n, "value": v} for n, v in parameters.items()],
    }
    (value,) = result(on, on.arm("POST", f"{node}/runCommand", body))["value"]
    assert (value["code"], value["displayStatus"]) == ("ProvisioningState/succeeded", "Provisioning succeeded")
    start, middle, between = "Enable succeeded: \n[stdout]\n", "\n[stderr]\n", value["message"]
    assert between.startswith(start), between
    said, _, wrong = between[len(start) :].partition(middle)
    return said, wrong


def metadata(on: Installation, scale_set: str, path: str) -> Any:
    """What the node's own `curl` is told by instance metadata."""
    said, wrong = script(on, scale_set, f"curl -sS -m 5 -H Metadata:true 'http://169.254.169.254/metadata/{path}'")
    assert not wrong, wrong
    return json.loads(said) if said.startswith("{") else said


def assign(on: Installation, scale_set: str, kind: str, *ids: str) -> dict[str, Any]:
    body = {"identity": {"type": kind, "userAssignedIdentities": {i: {} for i in ids}}}
    assert on.wait(on.arm("PATCH", scale_set, body))["status"] == "Succeeded"
    return on.arm("GET", scale_set).json()["identity"]  # type: ignore[no-any-return]


def reset(on: Installation, cluster: str, client_id: str, secret: str) -> Any:
    GIVEN.append(secret)
    return on.arm("POST", f"{cluster}/resetServicePrincipalProfile", {"clientId": client_id, "secret": secret})


SIGN_IN = r"""
of() { sed -n "s/.*\"$1\": \"\(.*\)\",/\1/p" /etc/kubernetes/azure.json; }
stat -c '%a %U' /etc/kubernetes/azure.json
of aadClientSecret | tr -d '\n' | sha256sum
url=$(curl -sS -m 10 https://login.sorairo.internal/$(of tenantId)/v2.0/.well-known/openid-configuration |
  sed 's/.*"token_endpoint":"\([^"]*\)".*/\1/')
echo "$url"
curl -sS -m 10 "$url" -d grant_type=client_credentials -d scope=https://management.azure.com/.default \
  -d client_id=$(of aadClientId) --data-urlencode "client_secret=$(of aadClientSecret)" |
  sed 's/.*"access_token":"[^.]*[.]\([^.]*\).*/\1/'
"""
"""As the cluster, from a node: what its file looks like, where it signs in, and what the token says. curl trusts what
the node does."""


def signed_in(said: str) -> tuple[str, str, str, str]:
    """What `SIGN_IN` says: mode and owner of the file, digest of its secret, token endpoint, the token's client id."""
    mode, secret, url, claims = said.strip().splitlines()
    return mode, secret.split()[0], url, json.loads(base64.urlsafe_b64decode(claims + "=="))["appid"]


def secret_on(on: Installation, scale_set: str) -> str:
    """A digest of the secret in the node's file: what a script says is kept with its operation."""
    value = """sed -n 's/.*"aadClientSecret": "\\(.*\\)",/\\1/p' /etc/kubernetes/azure.json | tr -d '\\n' | sha256sum"""
    return script(on, scale_set, value)[0].split()[0]


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def processes(on: Installation) -> dict[str, int]:
    machines = on.arm("GET", "/providers/Microsoft.Sorairo/status/default").json()["properties"]["machines"]
    return {f"{m['id']}/{p['name']}": p["pid"] for m in machines for p in m["processes"]}


def expose(on: Installation, config: Path, name: str) -> None:
    spec = {"type": "LoadBalancer", "selector": {"app": "none"}, "ports": [{"port": 80}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    on.kubectl(config, "apply", "-f", "-", stdin=json.dumps(service))


def reached(on: Installation, config: Path, name: str) -> None:
    on.kubectl(config, "wait", f"service/{name}", "--for=jsonpath={.status.loadBalancer.ingress}", "--timeout=90s")


def told(on: Installation, config: Path, name: str, word: str) -> None:
    def look() -> bool:
        return word in on.kubectl(config, "get", "events", f"--field-selector=involvedObject.name={name}")

    eventually(f"an event with {word}", look)
