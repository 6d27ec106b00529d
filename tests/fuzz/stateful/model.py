"""What ARM and Graph should hold after what was asked of them, as plain dictionaries, and how each request should end.

Nothing here knows how sorairo does it: rules are those of Azure's documentation, as far as `machine` asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

NSG = "Microsoft.Network/networkSecurityGroups"
VNET = "Microsoft.Network/virtualNetworks"
PIP = "Microsoft.Network/publicIPAddresses"
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
TYPES = (NSG, VNET, PIP, IDENTITY)
READER, CONTRIBUTOR = "acdd72a7-3385-48ef-bd42-f606fba81ae7", "b24988ac-6180-42a0-ab88-20f7382dd24c"
LOCATION = "westeurope"


@dataclass(frozen=True)
class End:
    """How a request should end: the status of its answer and, for a refusal, its code."""

    status: int
    code: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.code}".strip()


OK, CREATED, ACCEPTED, GONE = End(200), End(201), End(202), End(204)
LOCKED = End(409, "ScopeLocked")
NO_GROUP, NO_RESOURCE = End(404, "ResourceGroupNotFound"), End(404, "ResourceNotFound")
STALE = End(412, "PreconditionFailed")


@dataclass
class Arm:
    """Groups, what is in them, locks and role assignments, by lower-case id."""

    subscription: str
    groups: dict[str, Document] = field(default_factory=dict)
    resources: dict[str, Document] = field(default_factory=dict)
    locks: dict[str, Document] = field(default_factory=dict)
    """`{"scope", "level"}`"""
    assignments: dict[str, Document] = field(default_factory=dict)
    """`{"scope", "role", "principal"}`"""

    def group(self, name: str) -> str:
        return f"{self.subscription}/resourceGroups/{name}"

    def id(self, group: str, type: str, name: str) -> str:
        return f"{self.group(group)}/providers/{type}/{name}"

    def anything(self, id: str) -> Document | None:
        return self.groups.get(id.lower()) or self.resources.get(id.lower())

    # --- locks -----------------------------------------------------------------------------------------

    def locked(self, id: str, verb: str) -> bool:
        """Whether a lock forbids to `write` or `delete`: at the scope and above; for a deletion, below it too."""
        key = id.lower()
        for lock in self.locks.values():
            scope = lock["scope"].lower()
            reaches = key == scope or key.startswith(f"{scope}/") or (verb == "delete" and scope.startswith(f"{key}/"))
            if reaches and (verb == "delete" or lock["level"] == "ReadOnly"):
                return True
        return False

    def put_lock(self, scope: str, name: str, level: str) -> End:
        key = f"{scope}/{name}".lower()
        if key not in self.locks and self.anything(scope) is None:
            return NO_RESOURCE if "/providers/" in scope else NO_GROUP
        made = key not in self.locks
        self.locks[key] = {"scope": scope, "level": level}
        return CREATED if made else OK

    def delete_lock(self, scope: str, name: str) -> End:
        return OK if self.locks.pop(f"{scope}/{name}".lower(), None) else GONE

    # --- groups ----------------------------------------------------------------------------------------

    def put_group(self, name: str, location: str, tags: Document | None) -> End:
        id = self.group(name)
        there = self.groups.get(id.lower())
        if self.locked(id, "write"):
            return LOCKED
        if there and there["location"] != location:
            return End(409, "InvalidResourceGroupLocation")
        self.groups[id.lower()] = {"name": there["name"] if there else name, "location": location, "tags": tags or {}}
        return OK if there else CREATED

    def delete_group(self, name: str) -> End:
        id = self.group(name)
        if id.lower() not in self.groups:
            return NO_GROUP
        if self.locked(id, "delete"):
            return LOCKED
        return ACCEPTED

    def group_goes(self, name: str) -> bool:
        """Once accepted: what is used from elsewhere stays, and so does its group, though what else was in it goes."""
        key = self.group(name).lower()
        inside = [k for k in self.resources if k.startswith(f"{key}/")]
        used = [k for k in inside if any(not u.startswith(f"{key}/") for u in self.users(k))]
        for k in inside:
            if k not in used:
                del self.resources[k]
        if used:
            return False
        del self.groups[key]
        for kept in (self.assignments, self.locks):
            for k in [k for k, v in kept.items() if (v["scope"].lower() + "/").startswith(f"{key}/")]:
                del kept[k]
        return True

    # --- resources -------------------------------------------------------------------------------------

    def write(self, id: str, type: str, body: Document, condition: str) -> End:
        """A PUT. `condition`: `` none, `right` and `wrong` of an If-Match, `new` for If-None-Match: *."""
        there, group = self.resources.get(id.lower()), id[: id.lower().index("/providers/")]
        if group.lower() not in self.groups:
            return NO_GROUP
        if self.locked(id, "write"):
            return LOCKED
        if (condition == "new" and there) or (condition == "right" and not there) or condition == "wrong":
            return STALE
        if any(self.resources.get(n.lower()) is None for n in named(body)):
            return End(400, "InvalidResourceReference")
        self.resources[id.lower()] = {
            "name": there["name"] if there else id.rpartition("/")[2],
            "type": type,
            "location": LOCATION,
            "tags": body.get("tags") or {},
            "properties": body.get("properties") or {},
        }
        return OK if there else CREATED

    def tag(self, id: str, tags: Document) -> End:
        """A PATCH of tags, which replaces them; or tags that have been merged with what was there."""
        there, group = self.anything(id), id.partition("/providers/")[0]
        if group.lower() not in self.groups:
            return NO_GROUP
        if self.locked(id, "write"):
            return LOCKED
        if there is None:
            return NO_RESOURCE
        there["tags"] = tags
        return OK

    def delete(self, id: str) -> End:
        there = self.resources.get(id.lower())
        if self.locked(id, "delete"):
            return LOCKED
        if there is None:
            return GONE
        if self.users(id.lower()):
            return End(400, "InUseNetworkSecurityGroupCannotBeDeleted")
        del self.resources[id.lower()]
        return ACCEPTED

    def users(self, key: str) -> list[str]:
        """Who names it."""
        return [k for k, r in self.resources.items() if key in {n.lower() for n in named(r)}]

    def put_subnet(self, network: str, name: str, properties: Document) -> End:
        there, group = self.resources.get(network.lower()), network[: network.lower().index("/providers/")]
        if group.lower() not in self.groups:
            return NO_GROUP
        if self.locked(network, "write"):
            return LOCKED
        if there is None:
            return End(404, "ParentResourceNotFound")
        subnets = there["properties"].setdefault("subnets", [])
        old = next((s for s in subnets if s["name"].lower() == name.lower()), None)
        if any(s["properties"]["addressPrefix"] == properties["addressPrefix"] for s in subnets if s is not old):
            return End(400, "NetcfgSubnetRangesOverlap")
        if any(self.resources.get(n.lower()) is None for n in named({"properties": properties})):
            return End(400, "InvalidResourceReference")
        if old:
            old["properties"] = properties
            return OK
        subnets.append({"name": name, "properties": properties})
        return CREATED

    def delete_subnet(self, network: str, name: str) -> End:
        there = self.resources.get(network.lower())
        if self._locked_at(network):
            return LOCKED
        subnets = there["properties"].get("subnets", []) if there else []
        left = [s for s in subnets if s["name"].lower() != name.lower()]
        if len(left) == len(subnets):
            return GONE
        assert there
        there["properties"]["subnets"] = left
        return ACCEPTED

    def _locked_at(self, id: str) -> bool:
        """A lock of any level at the scope or above: what keeps a part of a document from being deleted."""
        return any((id.lower() + "/").startswith(lock["scope"].lower() + "/") for lock in self.locks.values())

    def move(self, id: str, source: str, target: str) -> tuple[End, str]:
        """How the request should end, and then its operation: the code of its error, '' for none."""
        there = self.resources.get(id.lower())
        if self.group(source).lower() not in self.groups:
            return NO_GROUP, ""
        if self.locked(self.group(source), "write"):
            return LOCKED, ""
        if source.lower() == target.lower():
            return ACCEPTED, "InvalidMoveResourcesRequest"
        if self.group(target).lower() not in self.groups:
            return ACCEPTED, "ResourceGroupNotFound"
        if there is None:
            return ACCEPTED, "ResourceNotFound"
        if there["type"] == IDENTITY:
            return ACCEPTED, "ResourceMoveNotSupported"
        if there["type"] != PIP:
            return ACCEPTED, "NotImplemented"
        new = self.group(target) + id[id.lower().index("/providers/") :]
        if new.lower() in self.resources:
            return ACCEPTED, "ResourceMoveFailed"
        if self.locked(id, "delete") or self.locked(new, "write"):
            return ACCEPTED, "ScopeLocked"
        self.resources[new.lower()] = self.resources.pop(id.lower())
        return ACCEPTED, ""

    # --- roles -----------------------------------------------------------------------------------------

    def assign(self, scope: str, name: str, role: str, principal: str, known: bool) -> End:
        if scope.lower() not in self.groups:
            return NO_GROUP
        if self.locked(scope, "write"):
            return LOCKED
        if not known:
            return End(400, "PrincipalNotFound")
        key, wanted = f"{scope}/{name}".lower(), {"scope": scope, "role": role, "principal": principal}
        there = self.assignments.get(key)
        if there and (there["role"], there["principal"]) != (role, principal):
            return End(400, "RoleAssignmentUpdateNotPermitted")
        same = [
            k
            for k, a in self.assignments.items()
            if {**a, "scope": a["scope"].lower()} == {**wanted, "scope": scope.lower()}
        ]
        if [k for k in same if k != key]:
            return End(409, "RoleAssignmentExists")
        self.assignments[key] = wanted
        return OK if there else CREATED

    def unassign(self, scope: str, name: str) -> End:
        if self._locked_at(scope):
            return LOCKED
        return OK if self.assignments.pop(f"{scope}/{name}".lower(), None) else GONE

    def roles(self, scope: str, principals: Iterable[str]) -> set[str]:
        """What those named may be at a scope."""
        whose = set(principals)
        return {
            a["role"]
            for a in self.assignments.values()
            if a["scope"].lower() == scope.lower() and a["principal"] in whose
        }


def named(document: Document) -> Iterator[str]:
    """Security groups that a network's, or a subnet's, document names."""
    properties = document.get("properties") or {}
    for part in (properties, *(s["properties"] for s in properties.get("subnets", []))):
        if "networkSecurityGroup" in part:
            yield part["networkSecurityGroup"]["id"]


@dataclass
class Directory:
    """Applications, service principals and groups, by object id."""

    applications: dict[str, Document] = field(default_factory=dict)
    """`{"appId", "displayName", "secrets": {keyId: value}, "principal": object id or ""}`"""
    principals: dict[str, Document] = field(default_factory=dict)
    """`{"appId", "displayName"}`"""
    groups: dict[str, Document] = field(default_factory=dict)
    """`{"displayName", "members": [object ids]}`"""

    def everything(self) -> list[str]:
        return [*self.applications, *self.principals, *self.groups]

    def delete(self, id: str) -> None:
        if id in self.applications and (principal := self.applications[id]["principal"]):
            self.delete(principal)
        for application in self.applications.values():
            if application["principal"] == id:
                application["principal"] = ""
        for group in self.groups.values():
            group["members"] = [m for m in group["members"] if m != id]
        for kind in (self.applications, self.principals, self.groups):
            kind.pop(id, None)

    def members(self, group: str) -> set[str]:
        """Directly and through other groups."""
        found, ahead = set[str](), [group]
        while ahead:
            new = set(self.groups.get(ahead.pop(), {}).get("members", [])) - found
            found |= new
            ahead += new
        return found

    def groups_of(self, id: str) -> set[str]:
        return {g for g in self.groups if id in self.members(g)}
