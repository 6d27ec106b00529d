"""The real `az`, signed in to an installation: what people type, answered as JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from sorairo.cli import azure
from sorairo.cli.links import find_az
from sorairo.identity.bootstrap import Credentials
from sorairo.tls import write_bundle


class Az:
    """Skips the test where there is no `az`."""

    def __init__(self, installation: Installation) -> None:
        state = installation.state
        az = find_az(state)
        if az is None:
            pytest.skip("no az on this machine")
        config = state.config()
        assert config is not None
        write_bundle(state)
        azure.write_cloud(state, config)
        assert azure.sign_in(state, config, Credentials(**installation.credentials))
        self._az = az
        self._folder = state.root
        self._environment = {
            **os.environ,
            "AZURE_CONFIG_DIR": str(state.azure),
            "REQUESTS_CA_BUNDLE": str(state.bundle),
            "AZURE_CORE_NO_COLOR": "true",
            "AZURE_CORE_DISABLE_PROGRESS_BAR": "true",
        }

    def __call__(self, *arguments: str, group: str = "") -> Any:
        """The command's answer: JSON, text where that is what it gives, None when it says nothing."""
        done = self.run(*arguments, group=group)
        assert done.returncode == 0, f"az {' '.join(arguments)}: {done.stderr}"
        try:
            return json.loads(done.stdout) if done.stdout.strip() else None
        except ValueError:
            return done.stdout

    def fails(self, *arguments: str, group: str = "") -> str:
        """What a command that must fail says."""
        done = self.run(*arguments, group=group)
        assert done.returncode != 0, f"az {' '.join(arguments)} succeeded: {done.stdout}"
        return done.stderr

    def run(self, *arguments: str, group: str = "") -> subprocess.CompletedProcess[str]:
        more = ["--resource-group", group] if group else []
        return subprocess.run(
            [str(self._az), *arguments, *more, "--only-show-errors"],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
        )

    def file(self, name: str, document: Any) -> str:
        """A file for `--template-file` and the like: JSON, or text as it is."""
        path = Path(self._folder) / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)
