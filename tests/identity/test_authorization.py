"""RBAC decisions against an oracle too simple to be wrong."""

from __future__ import annotations

import os
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sorairo.engine.errors import ArmError
from sorairo.identity.authorization import ROLE_ASSIGNMENTS, Authorization
from sorairo.identity.denials import EVERYBODY
from sorairo.identity.directory import groups_of
from sorairo.identity.principal import Principal
from sorairo.identity.roles import BY_ID, Permissions, RoleDefinition
from sorairo.providers.microsoft_compute.run_command import Commands
from sorairo.providers.microsoft_compute.virtual_machines import virtual_machines
from sorairo.providers.microsoft_network.network_interfaces import network_interface_types

from .conftest import Installation
from .oracle import ACTIONS, GROUPS, PRINCIPALS, SCOPES, Denied, Rows, World, allows, ask, assignments, denials, worlds

TENANT = "t"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


CASES = int(os.environ.get("SORAIRO_RBAC_CASES", "8000"))
"""`bench/rbac.py --oracle` asks for 100,000."""
OF_EACH = 20
"""Questions asked of each world: making one takes longer than some decisions in it."""


@settings(max_examples=-(-CASES // OF_EACH), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds, seed=st.integers(0, 2**32))
def test_decisions_agree_with_the_oracle(world: World, seed: int) -> None:
    store, random = Rows(), Random(seed)
    for who, role, at in world.assigned:
        store.add(who, role, at)
    for denied in world.denied:
        store.deny(denied)
    authorization = Authorization(store)
    for _ in range(OF_EACH):
        asked = ask(random)
        groups = groups_of([(g, {"members": list(m)}) for g, m in world.members.items()], asked.who)
        principal = Principal(asked.who, TENANT, "app", tuple(groups))
        decided = authorization.allows(principal, asked.action, asked.scope, data=asked.data)
        assert decided == allows(world, asked), asked


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), assignments.filter(bool) | denials.filter(bool)),
        min_size=1,
        max_size=8,
    )
)
def test_the_index_follows_every_change(
    changes: list[tuple[bool, int, tuple[tuple[str, RoleDefinition, str] | Denied, ...]]],
) -> None:
    store = Rows()
    followed = Authorization(store)
    followed.allows(Principal("p1", TENANT), "x/read", "/")
    for remove, slot, (change, *_) in changes:
        if remove:
            removed = [k for k in store.rows if k.endswith(f"/{slot}")]
            for key in removed:
                del store.rows[key]
            followed.changed(removed)
        elif isinstance(change, Denied):
            followed.changed([store.deny(change, str(slot))])
        else:
            before = set(store.rows)
            written = store.add(*change, str(slot))
            followed.changed([*(store.rows.keys() - before - {written}), written])
    fresh = Authorization(store)
    for who in (*PRINCIPALS, *GROUPS):
        for action in ACTIONS:
            for scope in SCOPES:
                principal = Principal(who, TENANT)
                assert followed.allows(principal, action, scope) == fresh.allows(principal, action, scope)


def test_the_refusal_is_in_azures_words() -> None:
    with pytest.raises(ArmError) as refused:
        Authorization(Rows()).authorize(
            Principal("oid", TENANT, "app"), "Microsoft.Network/virtualNetworks/read", "/subscriptions/s"
        )
    assert (refused.value.status, refused.value.code) == (403, "AuthorizationFailed")
    assert refused.value.message == (
        "The client 'app' with object id 'oid' does not have authorization to perform action "
        "'Microsoft.Network/virtualNetworks/read' over scope '/subscriptions/s' or the scope is invalid. "
        "If access was recently granted, please refresh your credentials."
    )


def test_a_client_id_where_an_object_id_belongs_opens_nothing() -> None:
    store = Rows()
    store.add("app", BY_ID[OWNER], "/subscriptions/s1")
    assert not Authorization(store).allows(Principal("oid", TENANT, "app"), "x/read", "/subscriptions/s1")


def test_a_role_below_shows_the_subscription_and_no_other() -> None:
    store = Rows()
    store.add("p1", BY_ID["7f951dda-4ed3-4680-a7ca-43fe172d538d"], SCOPES[3])
    authorization, principal = Authorization(store), Principal("p1", TENANT)
    assert authorization.allows(principal, "Microsoft.Resources/subscriptions/read", "/subscriptions/S1")
    for scope in ("/subscriptions/s10", "/subscriptions/s", ""):
        assert not authorization.allows(principal, "Microsoft.Resources/subscriptions/read", scope)
    assert not authorization.allows(principal, "Microsoft.Resources/subscriptions/resourceGroups/read", SCOPES[1])


def test_who_contributes_virtual_machines_may_join_what_they_need_and_make_none_of_it() -> None:
    store = Rows()
    store.add("p1", BY_ID["9980e02c-c2be-4d73-94e8-173b1dc7cf3c"], SCOPES[1])
    authorization, principal = Authorization(store), Principal("p1", TENANT)
    machines = virtual_machines(cast(Any, None), cast(Any, None), Commands(cast(Any, None)))
    interfaces, _ = network_interface_types(cast(Any, None))
    network = "Microsoft.Network"
    allowed = [a.permission for a in machines.actions] + [
        *(f"{machines.name}/{verb}" for verb in ("read", "write", "delete")),
        interfaces.linked,
        f"{network}/virtualNetworks/subnets/join/action",
        f"{network}/publicIPAddresses/join/action",
    ]
    denied = [
        f"{network}/virtualNetworks/write",
        f"{network}/publicIPAddresses/write",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
    ]
    assert [a for a in allowed if not authorization.allows(principal, a, SCOPES[1])] == []
    assert [a for a in denied if authorization.allows(principal, a, SCOPES[1])] == []


async def test_the_administrator_may_do_everything_in_the_subscription_and_nothing_else(
    installation: Installation,
) -> None:
    authorization = Authorization(installation.store)
    installation.store.listen(authorization.changed)
    admin = Principal(installation.admin.objectId, installation.admin.tenantId, installation.admin.clientId)
    subscription = f"/subscriptions/{installation.admin.subscriptionId}"
    authorization.authorize(admin, "Microsoft.Authorization/roleAssignments/write", subscription)
    authorization.authorize(admin, "Microsoft.Compute/virtualMachines/delete", f"{subscription}/resourceGroups/g")
    assert not authorization.allows(admin, "Microsoft.Resources/subscriptions/read", "/subscriptions/other")
    assert not authorization.allows(admin, "Microsoft.Resources/subscriptions/read", "/")

    # A commit is seen by the next decision.
    [assignment] = installation.store.list(type=ROLE_ASSIGNMENTS)
    await installation.store.transact(lambda tx: tx.delete(assignment.id))
    assert not authorization.allows(admin, "Microsoft.Resources/subscriptions/read", subscription)


def test_a_denial_is_told_in_azures_words_and_only_to_who_would_be_allowed() -> None:
    store = Rows()
    store.add("p1", BY_ID[OWNER], "/subscriptions/s1")
    store.add("p2", BY_ID[OWNER], "/subscriptions/s1")
    permissions = Permissions(("*",), ("*/read",))
    store.deny(Denied((EVERYBODY,), ("p2",), permissions, SCOPES[3], False), "11111111-2222-3333-4444-555555555555")
    authorization, vnet = Authorization(store), SCOPES[5]
    with pytest.raises(ArmError) as refused:
        authorization.authorize(Principal("p1", TENANT, "app"), ACTIONS[1], vnet)
    assert (refused.value.status, refused.value.code) == (403, "DenyAssignmentAuthorizationFailed")
    assert refused.value.message == (
        f"The client 'app' with object id 'p1' has permission to perform action '{ACTIONS[1]}' on scope '{vnet}'; "
        "however, the access is denied because of the deny assignment with name 'no' and Id "
        f"'11111111222233334444555555555555' at scope '{SCOPES[3]}'."
    )
    authorization.authorize(Principal("p1", TENANT, "app"), ACTIONS[0], vnet)
    authorization.authorize(Principal("p1", TENANT, "app"), ACTIONS[1], SCOPES[4])
    authorization.authorize(Principal("p2", TENANT, "app"), ACTIONS[1], vnet)
    with pytest.raises(ArmError) as refused:
        authorization.authorize(Principal("p3", TENANT, "app"), ACTIONS[1], vnet)
    assert refused.value.code == "AuthorizationFailed"
