"""The Azure CLI's configuration in `state/azure`: our cloud, and the administrator signed in."""

from __future__ import annotations

import configparser
import hashlib
import os
import subprocess
from pathlib import Path

from sorairo.cli.links import find_az
from sorairo.cli.problem import Problem
from sorairo.files import write_private
from sorairo.identity.bootstrap import Credentials
from sorairo.state import Config, State

CLOUD = "sorairo"
SUFFIX = "sorairo.internal"


def write_cloud(state: State, config: Config) -> None:
    """`clouds.config` and `config`. What the user has set besides stays."""
    state.azure.mkdir(mode=0o700, exist_ok=True)
    resource = f"{config.endpoint}/"
    endpoints = dict.fromkeys(
        (
            "management",
            "resource_manager",
            "active_directory_resource_id",
            "active_directory_graph_resource_id",
            "microsoft_graph_resource_id",
        ),
        resource,
    )
    endpoints["active_directory"] = config.endpoint
    endpoints["vm_image_alias_doc"] = f"{config.endpoint}/metadata/vmImageAliases"
    suffixes = {
        "storage_endpoint": f"core.{SUFFIX}",
        "acr_login_server_endpoint": f".azurecr.{SUFFIX}",
        "keyvault_dns": f".vault.{SUFFIX}",
    }
    _set(
        state.azure / "clouds.config",
        CLOUD,
        {f"endpoint_{k}": v for k, v in endpoints.items()} | {f"suffix_{k}": v for k, v in suffixes.items()},
    )
    _set(state.azure / "config", "cloud", {"name": CLOUD})
    # Without this MSAL asks the public cloud whether we are an authority; telemetry would call out as well.
    _set(
        state.azure / "config",
        "core",
        {"instance_discovery": "false", "collect_telemetry": "false", "survey_message": "false"},
    )


def sign_in(state: State, config: Config, credentials: Credentials) -> bool:
    """Sign the Azure CLI in as the administrator, once per secret and endpoint. False when there is no `az`.

    The secret goes through a file, not through the process list. Raises Problem with what `az` says.
    """
    az = find_az(state)
    if az is None:
        return False
    marker = state.azure / ".sorairo-signed-in"
    told = f"{config.endpoint} {credentials.clientId} {credentials.clientSecret}"
    digest = hashlib.sha256(told.encode()).hexdigest()
    profile = state.azure / "azureProfile.json"
    if marker.exists() and marker.read_text() == digest and profile.exists():
        return True
    secret = state.azure / ".secret"
    write_private(secret, credentials.clientSecret.encode())
    environment = {
        **os.environ,
        "AZURE_CONFIG_DIR": str(state.azure),
        "REQUESTS_CA_BUNDLE": str(state.bundle),
        "SSL_CERT_FILE": str(state.bundle),
    }
    try:
        done = subprocess.run(
            [
                str(az), "login", "--service-principal", "--username", credentials.clientId, "--password", f"@{secret}",
                "--tenant", credentials.tenantId, "--only-show-errors", "--output", "none",
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise Problem(f"az login could not run: {cause}", "see whether `az version` works") from cause
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Problem(f"az login failed: {said}", "see: sorairo status")
    marker.write_text(digest)
    return True


def _set(file: Path, section: str, values: dict[str, str]) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(file)
    before = {s: dict(parser[s]) for s in parser.sections()}
    if not parser.has_section(section):
        parser.add_section(section)
    parser[section].update(values)
    if {s: dict(parser[s]) for s in parser.sections()} == before:
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with beside.open("w") as out:
        parser.write(out)
    beside.replace(file)
