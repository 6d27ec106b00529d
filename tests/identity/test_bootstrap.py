"""The first start makes tenant, subscription and administrator; later starts find them."""

from __future__ import annotations

import json
import stat

import pytest

from sorairo.identity.bootstrap import OWNER, bootstrap
from sorairo.identity.errors import EntraError

from .conftest import Installation


async def test_a_second_start_changes_nothing(installation: Installation) -> None:
    again = await bootstrap(installation.store, installation.directory, installation.state / "credentials.json")
    assert again == installation.admin


async def test_the_secret_is_in_a_file_only_its_owner_reads_and_nowhere_in_the_store(
    installation: Installation,
) -> None:
    file = installation.state / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["clientSecret"] == installation.admin.clientSecret
    await installation.store.close()
    for path in installation.state.iterdir():
        if path != file:
            assert installation.admin.clientSecret.encode() not in path.read_bytes(), path


async def test_the_administrator_owns_the_subscription(installation: Installation) -> None:
    subscription = f"/subscriptions/{installation.admin.subscriptionId}"
    assert installation.store.get(subscription) is not None
    [assignment] = installation.store.list(type="Microsoft.Authorization/roleAssignments", under=subscription)
    assert assignment.properties["roleDefinitionId"].endswith(OWNER)
    assert assignment.properties["principalId"] == installation.admin.objectId


async def test_a_lost_file_is_replaced_by_one_with_a_new_secret(installation: Installation) -> None:
    file = installation.state / "credentials.json"
    file.unlink()
    again = await bootstrap(installation.store, installation.directory, file)
    assert again.clientId == installation.admin.clientId
    assert again.clientSecret != installation.admin.clientSecret
    installation.directory.check_secret(again.clientId, again.clientSecret)


async def test_a_file_of_another_installation_is_not_believed(installation: Installation) -> None:
    file = installation.state / "credentials.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "clientSecret": "x" * 40}))
    again = await bootstrap(installation.store, installation.directory, file)
    installation.directory.check_secret(again.clientId, again.clientSecret)


async def test_two_installations_share_nothing(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from sorairo.identity.directory import Directory
    from sorairo.store import Store

    state = tmp_path_factory.mktemp("other")
    store = Store.open(f"sqlite:///{state / 'state.db'}")
    try:
        other = await bootstrap(store, Directory(store), state / "credentials.json")
    finally:
        await store.close()
    assert not {other.tenantId, other.subscriptionId, other.clientId, other.objectId, other.clientSecret} & {
        installation.admin.tenantId,
        installation.admin.subscriptionId,
        installation.admin.clientId,
        installation.admin.objectId,
        installation.admin.clientSecret,
    }


async def test_an_expired_secret_is_told_from_a_wrong_one(installation: Installation) -> None:
    client = installation.admin.clientId
    far = 4e9
    with pytest.raises(EntraError) as expired:
        installation.directory.check_secret(client, installation.admin.clientSecret, now=far)
    with pytest.raises(EntraError) as wrong:
        installation.directory.check_secret(client, "wrong", now=far)
    assert (expired.value.code, wrong.value.code) == (7000222, 7000215)


async def test_a_managed_identity_is_one_principal_until_removed(installation: Installation) -> None:
    resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
    first = await installation.directory.ensure_managed_identity(resource, "c")
    assert await installation.directory.ensure_managed_identity(resource.upper(), "c") == first
    assert first.kind == "ManagedIdentity"
    assert first.resource_id == resource
    with pytest.raises(EntraError) as refused:
        installation.directory.check_secret(first.client_id, "")
    assert refused.value.code == 7000215
    await installation.directory.remove_principal(first.object_id)
    assert installation.directory.managed_identity(resource) is None
    assert installation.directory.by_client_id(first.client_id) is None
    assert (await installation.directory.ensure_managed_identity(resource, "c")).object_id != first.object_id
