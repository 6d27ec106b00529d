"""All that is asked, and what is looked at after each request: everything there is, beside the model."""

from __future__ import annotations

from typing import Any

from hypothesis.stateful import invariant, rule

from fuzz.run import _errors
from fuzz.stateful.arm_rules import LOCKS, LOCKS_VERSION, VERSIONS, ArmRules
from fuzz.stateful.asking import GROUPS
from fuzz.stateful.model import IDENTITY, NSG, PIP, VNET, Document
from fuzz.stateful.people_rules import ROLES, ROLES_VERSION, PeopleRules


class Machine(ArmRules, PeopleRules):
    """Nothing is answered with a 5xx, nothing is half-made, and documents are what the model says, always."""

    def _listed(self, path: str, v: str = "") -> list[Any]:
        answer = self.ask("GET", path, v=v)
        assert answer.status == 200, answer.raw
        assert not {"nextLink", "@odata.nextLink"} & answer.body.keys()
        return list(answer.body["value"])

    @invariant()
    def what_arm_lists_is_the_models(self) -> None:
        arm = self.arm
        listed = {g["id"].lower(): g for g in self._listed(f"{arm.subscription}/resourceGroups", GROUPS)}
        assert {k: (g["name"], g["location"], g.get("tags") or {}) for k, g in listed.items()} == {
            k: (g["name"], g["location"], g["tags"]) for k, g in arm.groups.items()
        }
        listed = {r["id"].lower(): r for r in self._listed(f"{arm.subscription}/resources", GROUPS)}
        assert {k: (r["name"], r["type"], r.get("tags") or {}) for k, r in listed.items()} == {
            k: (r["name"], r["type"], r["tags"]) for k, r in arm.resources.items()
        }

    @invariant()
    def what_graph_lists_is_the_models(self) -> None:
        directory = self.directory
        ours = [a for a in self._listed("/v1.0/applications") if a["appId"] != self.it.admin.clientId]
        assert {a["id"]: (a["displayName"], {c["keyId"] for c in a["passwordCredentials"]}) for a in ours} == {
            k: (a["displayName"], set(a["secrets"])) for k, a in directory.applications.items()
        }
        found = {p["id"]: p for p in self._listed("/v1.0/servicePrincipals") if p["id"] != self.it.admin.objectId}
        managed = {k: p for k, p in found.items() if p["servicePrincipalType"] == "ManagedIdentity"}
        assert {k: p["appId"] for k, p in found.items() if k not in managed} == {
            k: p["appId"] for k, p in directory.principals.items()
        }
        assert {next(n for n in p["alternativeNames"] if n.startswith("/")).lower() for p in managed.values()} == {
            k for k, r in self.arm.resources.items() if r["type"] == IDENTITY
        }, "an identity is a principal as long as it is there"
        assert {g["id"]: g["displayName"] for g in self._listed("/v1.0/groups")} == {
            k: g["displayName"] for k, g in directory.groups.items()
        }

    @invariant()
    def nothing_is_half_made(self) -> None:
        wrong = self.run(self.it.half_made()) + _errors(self.logs, "logged")
        assert not wrong, wrong
        self.logs.clear()

    @rule()
    def look_closely(self) -> None:
        """Each document by itself; members of groups; locks and role assignments."""
        arm = self.arm
        for id, group in self.directory.groups.items():
            assert {m["id"] for m in self._listed(f"/v1.0/groups/{id}/members")} == set(group["members"])
        for key, resource in arm.resources.items():
            self._is(key, resource, self.ask("GET", key, v=VERSIONS[resource["type"]]).body)
        assert {
            (lock["id"].lower().replace(f"/{LOCKS}/".lower(), "/"), lock["properties"]["level"])
            for lock in self._listed(f"{arm.subscription}/{LOCKS}", LOCKS_VERSION)
        } == {(key, lock["level"]) for key, lock in arm.locks.items()}
        assert {
            (a["id"].lower().replace(f"/{ROLES}/".lower(), "/"), a["properties"]["principalId"])
            for a in self._listed(f"{arm.subscription}/{ROLES}", ROLES_VERSION)
            if a["properties"]["principalId"] not in self.kept
        } == {(key, a["principal"]) for key, a in arm.assignments.items()}

    def _is(self, key: str, wanted: Document, found: Document) -> None:
        assert (found["id"].lower(), found["name"], found["type"]) == (key, wanted["name"], wanted["type"])
        assert (found["location"], found.get("tags") or {}) == (wanted["location"], wanted["tags"])
        if wanted["type"] not in (IDENTITY, NSG):  # A security group's changes with the subnets it is shown to guard.
            assert self.etags.setdefault(key, found["etag"]) == found["etag"], f"{key} has changed, though nobody asked"
        properties, asked = found["properties"], wanted["properties"]
        if wanted["type"] == NSG:
            assert [(r["name"], r["properties"]["priority"]) for r in properties["securityRules"]] == [
                (r["name"], r["properties"]["priority"]) for r in asked["securityRules"]
            ]
            assert {s["id"].lower() for s in properties.get("subnets") or []} == self._subnets_naming(key)
        elif wanted["type"] == PIP:
            assert properties["idleTimeoutInMinutes"] == asked["idleTimeoutInMinutes"]
            address = self.addresses.setdefault(key, properties["ipAddress"])
            assert properties["ipAddress"] == address, "it is kept as long as the resource"
            others = [a for k, a in self.addresses.items() if k != key and k in self.arm.resources]
            assert address not in others
        elif wanted["type"] == VNET:
            assert [_subnet(s) for s in properties["subnets"]] == [_subnet(s) for s in asked.get("subnets", [])]
        else:
            assert self.identities.setdefault(key, properties["principalId"]) == properties["principalId"]

    def _subnets_naming(self, group: str) -> set[str]:
        networks = {k: r for k, r in self.arm.resources.items() if r["type"] == VNET}
        return {
            f"{k}/subnets/{s['name']}".lower()
            for k, r in networks.items()
            for s in r["properties"].get("subnets", [])
            if s["properties"].get("networkSecurityGroup", {}).get("id", "").lower() == group
        }

    @invariant()
    def what_is_gone_is_forgotten(self) -> None:
        """A name that comes again is another resource."""
        for known in (self.etags, self.addresses, self.identities):
            for key in [k for k in known if k not in self.arm.resources]:
                del known[key]

    @rule()
    def restart(self) -> None:
        """What is stored is all there is."""
        self._close()
        self._open()
        self.look_closely()

    def teardown(self) -> None:
        try:
            self.look_closely()
        finally:
            super().teardown()


def _subnet(subnet: Document) -> tuple[str, str, str]:
    properties = subnet["properties"]
    guards = (properties.get("networkSecurityGroup") or {}).get("id", "")
    return subnet["name"], properties["addressPrefix"], guards.lower()
