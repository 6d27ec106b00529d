"""What providers need of the directory: `sorairo.identity.directory.Directory` has it, `main` hands it in."""

from __future__ import annotations

from typing import Protocol


class Principal(Protocol):
    @property
    def object_id(self) -> str: ...
    @property
    def client_id(self) -> str: ...


class Principals(Protocol):
    @property
    def tenant_id(self) -> str: ...

    async def ensure_managed_identity(self, resource_id: str, name: str) -> Principal:
        """The principal that a resource is known as; made when missing, the same one ever after."""
        ...

    async def remove_managed_identity(self, resource_id: str) -> None:
        """Forget it. Its role assignments stay and name nobody, as on Azure."""
        ...

    def check_secret(self, client_id: str, secret: str) -> Principal:
        """Whose secret this is. Raises an exception whose text has the AADSTS code."""
        ...
