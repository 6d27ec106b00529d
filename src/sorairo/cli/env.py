"""`sorairo env`: what a shell needs so that unmodified clients find sorairo.

`~/.kube/config` is left to be what it is with Azure: `az aks get-credentials` adds a context there, and asks before it
overwrites one. Whoever wants a file of their own sets KUBECONFIG.
"""

from __future__ import annotations

import os
import shlex
import sys

import click

from sorairo.cli import azure, links, show
from sorairo.cli.app import options, show_json
from sorairo.cli.client import Client
from sorairo.cli.problem import Problem, not_running
from sorairo.state import State


@click.command("env")
@options
@click.option("--shell", type=click.Choice(["bash", "fish"]), help="bash stands for every POSIX shell. [by $SHELL]")
@click.option(
    "--with-secret", is_flag=True, help="Also AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, for SDKs and Terraform."
)
def command(state: State, as_json: bool, shell: str | None, with_secret: bool) -> None:
    """Print settings for this shell, to be evaluated:

    \b
        eval "$(sorairo env)"            bash, zsh, sh
        sorairo env --shell fish | source

    `az` (where there is one) is signed in as the administrator. SDKs can use that sign-in (AzureCliCredential), or
    take the secret with --with-secret, which any program started from the shell can then read.
    """
    if state.daemon() is None:
        raise not_running(state.root)
    settings = variables(state, with_secret=with_secret)
    if as_json:
        show_json(settings)
        return
    shell = shell or ("fish" if os.environ.get("SHELL", "").endswith("/fish") else "bash")
    path = os.environ.get("PATH", "").split(os.pathsep)
    lines = [_export(shell, name, value) for name, value in settings.items()]
    if not path or path[0] != str(state.bin):
        lines.append(_prepend(shell, str(state.bin)))
    click.echo("\n".join(lines))
    if sys.stdout.isatty():
        how = "sorairo env --shell fish | source" if shell == "fish" else 'eval "$(sorairo env)"'
        click.echo(f"# to take these into this shell: {how}", err=True)


def variables(state: State, *, with_secret: bool = False) -> dict[str, str]:
    """Names and values, PATH aside. Writes the Azure CLI's configuration and signs it in when that is not done."""
    from sorairo.tls import write_bundle

    client = Client(state)
    config, credentials = client.config, client.credentials
    write_bundle(state)
    links.write_links(state)
    azure.write_cloud(state, config)
    try:
        with show.busy("signing az in"):
            azure.sign_in(state, config, credentials)
    except Problem as problem:
        # Everything else still works; the shell must not be left without its settings.
        click.echo(f"sorairo: {problem.message}", err=True)
    found = {
        "SORAIRO_STATE": str(state.root),
        "SORAIRO_ENDPOINT": config.endpoint,
        "SORAIRO_ENGINE_BIN": str(state.root / "engine"),
        "AZURE_CONFIG_DIR": str(state.azure),
        "AZURE_AUTHORITY_HOST": config.endpoint,
        "AZURE_TENANT_ID": credentials.tenantId,
        "AZURE_SUBSCRIPTION_ID": credentials.subscriptionId,
        # Requests, and everything that uses OpenSSL's defaults (curl, aiohttp, Go), each read another name.
        "REQUESTS_CA_BUNDLE": str(state.bundle),
        "SSL_CERT_FILE": str(state.bundle),
        "CURL_CA_BUNDLE": str(state.bundle),
        "NODE_EXTRA_CA_CERTS": str(state.ca),
    }
    if with_secret:
        found["AZURE_CLIENT_ID"] = credentials.clientId
        found["AZURE_CLIENT_SECRET"] = credentials.clientSecret
    return found


def _export(shell: str, name: str, value: str) -> str:
    return f"set -gx {name} {_fish(value)}" if shell == "fish" else f"export {name}={shlex.quote(value)}"


def _prepend(shell: str, folder: str) -> str:
    return f"set -gx PATH {_fish(folder)} $PATH" if shell == "fish" else f'export PATH={shlex.quote(folder)}:"$PATH"'


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
