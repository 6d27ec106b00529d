"""The real `az`, signed in to an installation: what people type, answered as JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from sorairo.cli import azure
from sorairo.cli.links import find_az
from sorairo.identity.bootstrap import Credentials
from sorairo.tls import write_bundle


@dataclass(frozen=True)
class Refusal:
    """What `az` prints of an error, in Azure's code and words."""

    code: str
    message: str


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
        self._secrets = installation.secrets
        self._environment = {
            **os.environ,
            "AZURE_CONFIG_DIR": str(state.azure),
            "REQUESTS_CA_BUNDLE": str(state.bundle),
            "AZURE_CORE_NO_COLOR": "true",
            "AZURE_CORE_DISABLE_PROGRESS_BAR": "true",
        }

    def signed_out(self, folder: Path) -> Az:
        """Another user of the same machine, whom `az` knows nothing of."""
        folder.mkdir()
        for name in ("clouds.config", "config"):
            shutil.copy(Path(self._environment["AZURE_CONFIG_DIR"]) / name, folder / name)
        other = object.__new__(Az)
        other.__dict__ |= self.__dict__
        other._environment = {**self._environment, "AZURE_CONFIG_DIR": str(folder)}
        return other

    def __call__(self, *arguments: str, group: str = "", folder: Path | None = None) -> Any:
        """The command's answer: JSON, text where that is what it gives, None when it says nothing."""
        said = self.text(*arguments, group=group, folder=folder)
        try:
            document = json.loads(said) if said.strip() else None
        except ValueError:
            return said
        self._secrets.take("what az was given", document)
        return document

    def text(self, *arguments: str, group: str = "", folder: Path | None = None) -> str:
        done = self.run(*arguments, group=group, folder=folder)
        assert done.returncode == 0, f"az {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def fails(self, *arguments: str, group: str = "") -> str:
        """What a command that must fail says."""
        done = self.run(*arguments, group=group)
        assert done.returncode != 0, f"az {' '.join(arguments)} succeeded: {done.stdout}"
        return done.stderr

    def refused(self, *arguments: str, group: str = "") -> Refusal:
        """The error of ARM's that a command must fail with."""
        stderr = self.fails(*arguments, group=group)
        said = re.search(r"ERROR: \((\w+)\) (.*?)(?=\nCode: |\Z)", stderr, re.DOTALL)
        assert said, f"az {' '.join(arguments)}: {stderr}"
        return Refusal(said[1], said[2].strip())

    def run(self, *arguments: str, group: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`folder`: where it runs."""
        more = ["--resource-group", group] if group else []
        return subprocess.run(
            [str(self._az), *arguments, *more, "--only-show-errors"],
            env=self._environment,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )

    def file(self, name: str, document: Any) -> str:
        """A file for `--template-file` and the like: JSON, or text as it is."""
        path = Path(self._folder) / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)
