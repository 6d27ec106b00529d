"""Resource groups and managed identities: given what is in them, then these steps."""

from __future__ import annotations

from typing import cast

import pytest

from sorairo.providers.microsoft_managedidentity import IdentityReconciler
from sorairo.providers.microsoft_resources.groups import Contents, GroupReconciler
from sorairo.providers.principals import Principals

from .table import GROUP, Case, check, resource

NETWORK = f"{GROUP}/providers/Microsoft.Network"
IN_IT = (f"{NETWORK}/virtualNetworks/a", f"{NETWORK}/networkSecurityGroups/a")
GROUPS = [
    Case("a group is made by being there", Contents()),
    Case("all that is in it is asked to go, at once", Contents(IN_IT, IN_IT),
         ("delete virtualNetworks a", "delete networkSecurityGroups a"), deleting=True),
    Case("some has been asked before", Contents(IN_IT[:1], IN_IT), ("delete virtualNetworks a",), deleting=True),
    Case("what was asked to go is waited for", Contents((), IN_IT), ("wait for contents",), deleting=True),
    Case("it is empty", Contents(), deleting=True),
]  # fmt: skip


@pytest.mark.parametrize("case", GROUPS, ids=str)
def test_resource_group(case: Case) -> None:
    check(GroupReconciler(), resource(GROUP, {"location": "westeurope"}, case), case)


IDENTITIES = [
    Case("nobody is it yet", None, ("make principal",)),
    Case("somebody is", ("object", "client")),
    Case("its principal goes with it", ("object", "client"), ("forget principal",), deleting=True),
    Case("one that was made and not noted goes, too", None, ("forget principal",), deleting=True),
    Case("it has been forgotten", None, deleting=True, private={"principal": None, "forgotten": True}),
    Case("made again after a deletion that failed", None, ("make principal",), private={"forgotten": True}),
]


@pytest.mark.parametrize("case", IDENTITIES, ids=str)
def test_identity(case: Case) -> None:
    id = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    check(IdentityReconciler(cast(Principals, None)), resource(id, {"properties": {}}, case), case)
