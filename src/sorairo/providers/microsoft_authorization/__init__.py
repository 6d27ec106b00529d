"""Microsoft.Authorization: role definitions, role assignments and locks, at any scope."""

from __future__ import annotations

from sorairo.engine.types import Provider
from sorairo.identity.authorization import Reads
from sorairo.identity.directory import Directory
from sorairo.providers.microsoft_authorization.locks import locks
from sorairo.providers.microsoft_authorization.role_assignments import role_assignments
from sorairo.providers.microsoft_authorization.role_definitions import ROLE_DEFINITIONS


def provider(store: Reads, directory: Directory) -> Provider:
    return Provider("Microsoft.Authorization", (ROLE_DEFINITIONS, role_assignments(store, directory), locks(store)))
