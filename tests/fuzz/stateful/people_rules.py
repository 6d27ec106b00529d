"""Requests to the directory, and roles of those who are in it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from fuzz.stateful.asking import GROUPS, Asker, groups, some
from fuzz.stateful.model import CONTRIBUTOR, CREATED, GONE, LOCKED, OK, READER, End

ROLES, ROLES_VERSION = "providers/Microsoft.Authorization/roleAssignments", "2022-04-01"
GRAPH = "https://graph.microsoft.com/v1.0/directoryObjects"
NOT_FOUND = End(404, "Request_ResourceNotFound")
TAKEN = End(409, "Request_MultipleObjectsWithSameKeyValue")
BAD = End(400, "Request_BadRequest")
texts = st.sampled_from(("one", "One two", "o'hara", "ünï"))


class PeopleRules(Asker):
    @initialize(number=some)
    def populate(self, number: int) -> None:
        """An application that can sign in, in a group that is in another: what most of the rest is about."""
        self.create_application("one")
        self.create_principal(0)
        self.add_secret(0)
        self.create_group("one", [1])
        self.create_group("One two", [2])

    # --- applications ----------------------------------------------------------------------------------

    @rule(name=texts)
    def create_application(self, name: str) -> None:
        answer = self.ask("POST", "/v1.0/applications", {"displayName": name})
        self.ends(answer, CREATED)
        made = {"appId": answer.body["appId"], "displayName": name, "secrets": {}, "principal": ""}
        self.directory.applications[answer.body["id"]] = made

    @rule(number=some, name=texts)
    def rename_application(self, number: int, name: str) -> None:
        id = self.pick([*self.directory.applications], number)
        there = self.directory.applications.get(id)
        self.ends(self.ask("PATCH", f"/v1.0/applications/{id}", {"displayName": name}), GONE if there else NOT_FOUND)
        if there:
            there["displayName"] = name

    @rule(number=some)
    def create_principal(self, number: int) -> None:
        there = self.directory.applications.get(self.pick([*self.directory.applications], number))
        answer = self.ask("POST", "/v1.0/servicePrincipals", {"appId": there["appId"] if there else "x"})
        self.ends(answer, BAD if there is None else TAKEN if there["principal"] else CREATED)
        if answer.status == 201 and there:
            there["principal"] = answer.body["id"]
            made = {"appId": there["appId"], "displayName": there["displayName"]}
            self.directory.principals[answer.body["id"]] = made

    @rule(number=some, kind=st.sampled_from(("applications", "servicePrincipals", "groups")))
    def delete_object(self, number: int, kind: str) -> None:
        of_kind = {"applications": self.directory.applications, "groups": self.directory.groups}
        among = of_kind.get(kind, self.directory.principals)
        id = self.pick([*among], number)
        self.ends(self.ask("DELETE", f"/v1.0/{kind}/{id}"), GONE if id in among else NOT_FOUND)
        self.directory.delete(id)

    @rule(number=some)
    def add_secret(self, number: int) -> None:
        id = self.pick([*self.directory.applications], number)
        there = self.directory.applications.get(id)
        given = {"passwordCredential": {"displayName": "s"}}
        answer = self.ask("POST", f"/v1.0/applications/{id}/addPassword", given)
        self.ends(answer, OK if there else NOT_FOUND)
        if there:
            there["secrets"][answer.body["keyId"]] = answer.body["secretText"]

    @rule(number=some, which=some)
    def remove_secret(self, number: int, which: int) -> None:
        id = self.pick([*self.directory.applications], number)
        there = self.directory.applications.get(id)
        key = self.pick([*(there or {}).get("secrets", {})], which)
        answer = self.ask("POST", f"/v1.0/applications/{id}/removePassword", {"keyId": key})
        self.ends(answer, NOT_FOUND if there is None else GONE if key in there["secrets"] else BAD)
        if there and (secret := there["secrets"].pop(key, None)):
            self._signs_in(there, secret, "AADSTS7000215")

    @rule(number=some, which=some)
    def sign_in(self, number: int, which: int) -> None:
        there = self.directory.applications.get(self.pick([*self.directory.applications], number))
        if there and there["secrets"]:
            self._signs_in(there, list(there["secrets"].values())[which % len(there["secrets"])], "")

    def _signs_in(self, application: Any, secret: str, refused: str) -> None:
        tenant = self.it.admin.tenantId
        form = {"grant_type": "client_credentials", "client_id": application["appId"], "client_secret": secret}
        form |= {"scope": "https://management.azure.com/.default"}
        refused = refused if application["principal"] else "AADSTS700016"
        kind = "application/x-www-form-urlencoded"
        path = f"/{tenant}/oauth2/v2.0/token"
        answer = self.ask("POST", path, urlencode(form).encode(), token="", **{"content-type": kind})
        if refused:
            assert answer.status in (400, 401)
            assert answer.body["error_description"].startswith(refused), answer.raw
        else:
            assert answer.status == 200, answer.raw

    # --- groups ----------------------------------------------------------------------------------------

    @rule(name=texts, numbers=st.lists(some, max_size=2, unique=True))
    def create_group(self, name: str, numbers: list[int]) -> None:
        members = list(dict.fromkeys(self.pick(self.directory.everything(), n) for n in numbers))
        members = [m for m in members if m in self.directory.everything()]
        body: Any = {"displayName": name, "mailNickname": "n", "mailEnabled": False, "securityEnabled": True}
        body["members@odata.bind"] = [f"{GRAPH}/{m}" for m in members]
        answer = self.ask("POST", "/v1.0/groups", body)
        self.ends(answer, CREATED)
        self.directory.groups[answer.body["id"]] = {"displayName": name, "members": members}

    @rule(number=some, other=some)
    def add_member(self, number: int, other: int) -> None:
        id, member = self.pick([*self.directory.groups], number), self.pick(self.directory.everything(), other)
        there = self.directory.groups.get(id)
        answer = self.ask("POST", f"/v1.0/groups/{id}/members/$ref", {"@odata.id": f"{GRAPH}/{member}"})
        if there is None or member not in self.directory.everything():
            self.ends(answer, NOT_FOUND)
        elif member == id or member in there["members"]:
            self.ends(answer, BAD)
        else:
            self.ends(answer, GONE)
            there["members"].append(member)

    @rule(number=some, other=some)
    def remove_member(self, number: int, other: int) -> None:
        id = self.pick([*self.directory.groups], number)
        there = self.directory.groups.get(id)
        member = self.pick(there["members"] if there and other % 3 else self.directory.everything(), other)
        answer = self.ask("DELETE", f"/v1.0/groups/{id}/members/{member}/$ref")
        self.ends(answer, GONE if there and member in there["members"] else NOT_FOUND)
        if there:
            there["members"] = [m for m in there["members"] if m != member]

    @rule(number=some)
    def look_through_groups(self, number: int) -> None:
        """Who is in a group, and what groups somebody is in: directly, and through others."""
        if not (everything := self.directory.everything()):
            return
        id, directory = self.pick(everything, number), self.directory

        def ids(path: str) -> set[str]:
            answer = self.ask("GET", f"/v1.0/{path}")
            self.ends(answer, OK)
            return {e["id"] for e in answer.body["value"]}

        if id in directory.groups:
            assert ids(f"groups/{id}/members") == set(directory.groups[id]["members"])
            assert ids(f"groups/{id}/transitiveMembers") == directory.members(id)
        if id in directory.applications:
            return
        kind = "groups" if id in directory.groups else "servicePrincipals"
        assert ids(f"{kind}/{id}/memberOf") == {g for g, d in directory.groups.items() if id in d["members"]}
        assert ids(f"{kind}/{id}/transitiveMemberOf") == directory.groups_of(id)
        answer = self.ask("POST", f"/v1.0/{kind}/{id}/getMemberObjects", {"securityEnabledOnly": False})
        assert set(answer.body["value"]) == directory.groups_of(id)

    @rule(name=texts, size=st.integers(1, 3))
    def find_by_name(self, name: str, size: int) -> None:
        """Page by page: all of the name, each once."""
        query = f"$filter={quote('displayName eq ' + _quoted(name))}&$top={size}"
        found, path = [], "/v1.0/groups"
        while True:
            answer = self.ask("GET", path, query=query)
            self.ends(answer, OK)
            found += [g["id"] for g in answer.body["value"]]
            if (following := answer.body.get("@odata.nextLink")) is None:
                break
            query = following.partition("?")[2]
        wanted = [k for k, g in self.directory.groups.items() if g["displayName"].lower() == name.lower()]
        assert sorted(found) == sorted(wanted)

    # --- roles -----------------------------------------------------------------------------------------

    @rule(group=groups, name=st.integers(1, 3), role=st.sampled_from((READER, CONTRIBUTOR)), number=some)
    def assign(self, group: str, name: int, role: str, number: int) -> None:
        known = [*self.directory.principals, *self.directory.groups]
        who, scope = self.pick(known, number), self.arm.group(group)
        expected = self.arm.assign(scope, _guid(name), role, who, who in known)
        definition = f"{self.arm.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        body = {"properties": {"roleDefinitionId": definition, "principalId": who}}
        self.ends(self.ask("PUT", f"{scope}/{ROLES}/{_guid(name)}", body, ROLES_VERSION), expected)

    @rule(group=groups, name=st.integers(1, 3))
    def unassign(self, group: str, name: int) -> None:
        scope = self.arm.group(group)
        expected = self.arm.unassign(scope, _guid(name))
        self.ends(self.ask("DELETE", f"{scope}/{ROLES}/{_guid(name)}", v=ROLES_VERSION), expected)

    @rule(group=groups, number=some)
    def ask_as_another(self, group: str, number: int) -> None:
        """What roles say, directly and through groups, and nothing else, is what somebody may."""
        scope, directory = self.arm.group(group), self.directory
        if not directory.principals or scope.lower() not in self.arm.groups:
            return
        who = self.pick([*directory.principals], number)
        token = self.it.issue(who, "https://management.azure.com/")
        roles = self.arm.roles(scope, {who, *directory.groups_of(who)})
        refused = End(403, "AuthorizationFailed")
        self.ends(self.ask("GET", scope, v=GROUPS, token=token), OK if roles else refused)
        tags = {"by": "another"}
        expected = refused
        if CONTRIBUTOR in roles:
            expected = self.arm.tag(scope, tags)
            assert expected in (OK, LOCKED)
        self.ends(self.ask("PATCH", scope, {"tags": tags}, GROUPS, token=token), expected)


def _guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
