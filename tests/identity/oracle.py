"""Who may what, decided so simply that it cannot be wrong; and worlds of roles, groups and denials to decide in."""

from __future__ import annotations

import fnmatch
import uuid
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st

from sorairo.engine.types import Resource
from sorairo.identity.authorization import ROLE_ASSIGNMENTS, ROLE_DEFINITIONS
from sorairo.identity.denials import DENY_ASSIGNMENTS, EVERYBODY
from sorairo.identity.roles import BUILT_IN, Permissions, RoleDefinition

SCOPES = [
    "",
    "/subscriptions/s1",
    "/subscriptions/s10",
    "/subscriptions/s1/resourceGroups/g",
    "/subscriptions/s1/resourceGroups/gg",
    "/subscriptions/s1/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v",
    "/subscriptions/s1/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/a",
    "/subscriptions/s1/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c",
]
ACTIONS = [
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Compute/virtualMachines/delete",
    "Microsoft.Authorization/roleAssignments/write",
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleAssignments/delete",
    "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action",
    "Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action",
    "Microsoft.ContainerService/managedClusters/secrets/read",
    "Microsoft.ContainerService/managedClusters/namespaces/delete",
    "Microsoft.ContainerRegistry/registries/pull/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Networkx/virtualNetworks/read/more",
]
PRINCIPALS = ["p1", "p2"]
GROUPS = ["g1", "g2", "g3"]
PATTERNS = sorted(
    {"*", "*/read", "*/write", "*/delete", "*/action", "Microsoft.*/read", "*/subnets/*", "Microsoft.Network*"}
    | set(ACTIONS)
    | {a.rsplit("/", 1)[0] + "/*" for a in ACTIONS}
    | {a.split("/", 1)[0] + "/*" for a in ACTIONS}
    | {a.split("/", 1)[0] + "/*/" + a.rsplit("/", 1)[1] for a in ACTIONS}
)


@dataclass(frozen=True)
class Denied:
    principals: tuple[str, ...]
    excluded: tuple[str, ...]
    permissions: Permissions
    scope: str
    here_only: bool


@dataclass(frozen=True)
class World:
    """Roles assigned and denied, and who is in which group."""

    assigned: tuple[tuple[str, RoleDefinition, str], ...]
    denied: tuple[Denied, ...]
    members: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Question:
    who: str
    action: str
    scope: str
    data: bool


@dataclass
class Rows:
    """A store of role definitions, role assignments and deny assignments alone."""

    rows: dict[str, Resource] = field(default_factory=dict)

    def get(self, id: str) -> Resource | None:
        return self.rows.get(id.lower())

    def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]:
        return [r for r in self.rows.values() if type is None or f"/{type}/".lower() in r.key]

    def add(self, principal: str, role: RoleDefinition, scope: str, name: str = "") -> str:
        """Assign a role. One that is not built in is defined as a custom one."""
        definition = f"/subscriptions/s1/providers/{ROLE_DEFINITIONS}/{role.id}"
        if role not in BUILT_IN:
            properties = {**role.properties(), "type": "CustomRole", "assignableScopes": ["/subscriptions/s1"]}
            self.rows[definition.lower()] = Resource(definition, {"properties": properties})
        return self._put(
            f"{scope}/providers/{ROLE_ASSIGNMENTS}/{name or uuid.uuid4()}",
            {"roleDefinitionId": definition, "principalId": principal},
        )

    def deny(self, denied: Denied, name: str = "") -> str:
        role = RoleDefinition("", "", "", (denied.permissions,))
        return self._put(
            f"{denied.scope}/providers/{DENY_ASSIGNMENTS}/{name or uuid.uuid4()}",
            {
                "denyAssignmentName": "no",
                "permissions": role.properties()["permissions"],
                "principals": [{"id": p, "type": "User"} for p in denied.principals],
                "excludePrincipals": [{"id": p, "type": "User"} for p in denied.excluded],
                "doNotApplyToChildScopes": denied.here_only,
            },
        )

    def _put(self, id: str, properties: dict[str, object]) -> str:
        self.rows[id.lower()] = Resource(id, {"properties": properties})
        return id.lower()


def allows(world: World, asked: Question) -> bool:
    """Whether the one who asks may."""

    def match(patterns: tuple[str, ...]) -> bool:
        return any(fnmatch.fnmatchcase(asked.action.lower(), p.lower()) for p in patterns)

    def named(permissions: Permissions) -> bool:
        if asked.data:
            return match(permissions.data_actions) and not match(permissions.not_data_actions)
        return match(permissions.actions) and not match(permissions.not_actions)

    def reaches(at: str) -> bool:
        return at == "" or (asked.scope.lower() + "/").startswith(at.lower() + "/")

    def is_in(who: str, group: str, seen: tuple[str, ...] = ()) -> bool:
        if group in seen:
            return False
        return any(m == who or is_in(who, m, (*seen, group)) for m in world.members.get(group, ()))

    def means(ids: tuple[str, ...]) -> bool:
        return EVERYBODY in ids or asked.who in ids or any(is_in(asked.who, i) for i in ids)

    for denied in world.denied:
        here = denied.scope.lower() == asked.scope.lower()
        applies = here or (reaches(denied.scope) and not denied.here_only)
        if applies and means(denied.principals) and not means(denied.excluded) and named(denied.permissions):
            return False
    return any(means((who,)) and reaches(at) and any(map(named, role.permissions)) for who, role, at in world.assigned)


def ask(random: Random) -> Question:
    def cased(text: str) -> str:
        return random.choice([text, text.upper(), text.lower()])

    action, scope = cased(random.choice(ACTIONS)), cased(random.choice(SCOPES))
    return Question(random.choice(PRINCIPALS), action, scope, random.random() < 0.3)


_pattern = st.one_of(st.sampled_from(["*", "*/read", "*/write", "Microsoft.Network/*"]), st.sampled_from(PATTERNS))
_some = st.lists(_pattern, min_size=1, max_size=4).map(tuple)
_less = st.one_of(st.just(()), st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple))
_permissions = st.builds(Permissions, _some, _less, _some, _less)
_custom = st.builds(
    lambda id, permissions: RoleDefinition(str(id), f"custom {id}", "", tuple(permissions)),
    st.uuids(),
    st.lists(_permissions, min_size=1, max_size=2),
)
_whom = st.sampled_from([*PRINCIPALS, *GROUPS])
assignments = st.lists(
    st.tuples(_whom, st.one_of(_custom, st.sampled_from(list(BUILT_IN))), st.sampled_from(SCOPES)),
    min_size=1,
    max_size=6,
).map(tuple)
denials = st.lists(
    st.builds(
        Denied,
        st.lists(st.sampled_from([EVERYBODY, *PRINCIPALS, *GROUPS]), min_size=1, max_size=2).map(tuple),
        st.one_of(st.just(()), st.lists(_whom, max_size=2).map(tuple)),
        _permissions,
        st.sampled_from(SCOPES),
        st.booleans(),
    ),
    max_size=3,
).map(tuple)
worlds = st.builds(
    World,
    assignments,
    denials,
    st.fixed_dictionaries({g: st.lists(_whom, max_size=2).map(tuple) for g in GROUPS}),
)
