"""Microsoft.Authorization: role definitions, role assignments, deny assignments and locks, at any scope."""

from __future__ import annotations

from sorairo.engine.types import Provider
from sorairo.identity.authorization import Reads
from sorairo.identity.directory import Directory
from sorairo.providers.microsoft_authorization.deny_assignments import deny_assignments
from sorairo.providers.microsoft_authorization.locks import locks
from sorairo.providers.microsoft_authorization.role_assignments import role_assignments
from sorairo.providers.microsoft_authorization.role_definitions import role_definitions


def provider(store: Reads, directory: Directory) -> Provider:
    types = (role_definitions(store), role_assignments(store, directory), deny_assignments(store), locks(store))
    return Provider("Microsoft.Authorization", types)
