"""Requests to ARM: groups, what is in them, tags, locks, moves."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from fuzz.origin import BASE, Answer
from fuzz.stateful.asking import GROUPS, Asker, groups, names, some, tags
from fuzz.stateful.model import ACCEPTED, IDENTITY, LOCATION, NSG, OK, PIP, TYPES, VNET, Document

VERSIONS = {NSG: "2024-05-01", VNET: "2024-05-01", PIP: "2024-05-01", IDENTITY: "2023-01-31"}
LOCKS, LOCKS_VERSION = "providers/Microsoft.Authorization/locks", "2020-05-01"
PREFIXES = ("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24")
types = st.sampled_from(TYPES)
locations = st.sampled_from((LOCATION, LOCATION, LOCATION, "northeurope"))
conditions = st.sampled_from(("", "", "", "right", "wrong", "new"))
levels = st.sampled_from(("CanNotDelete", "ReadOnly"))
rules = st.lists(st.sampled_from((("ssh", 100), ("web", 200), ("all", 4096))), unique=True, max_size=2)


class ArmRules(Asker):
    # --- groups ----------------------------------------------------------------------------------------

    @initialize(both=st.booleans())
    def begin(self, both: bool) -> None:
        """Where there is no group, hardly anything can be asked for."""
        for group in ("a", "b") if both else ("a",):
            self.put_group(group, LOCATION, None)
            self.put_security_group(group, "x", [("ssh", 100)], {"k": "v"}, "")
            self.put_address(group, "x", 4, {"k": "v"}, "")
            self.put_network(group, "x", group, "x", {"k": "v"}, "")

    @rule(group=groups, location=locations, tags=st.none() | tags)
    def put_group(self, group: str, location: str, tags: Document | None) -> None:
        expected = self.arm.put_group(group, location, tags)
        body = {"location": location} | ({} if tags is None else {"tags": tags})
        self.ends(self.ask("PUT", self.arm.group(group), body, GROUPS), expected)

    @rule(group=groups, tags=tags)
    def patch_group(self, group: str, tags: Document) -> None:
        expected = self.arm.tag(self.arm.group(group), tags)
        self.ends(self.ask("PATCH", self.arm.group(group), {"tags": tags}, GROUPS), expected)

    @rule(group=groups, sure=st.integers(0, 3))
    def delete_group(self, group: str, sure: int) -> None:
        if sure:
            return
        expected = self.arm.delete_group(group)
        answer = self.ask("DELETE", self.arm.group(group), v=GROUPS)
        self.ends(answer, expected)
        if expected == ACCEPTED and not self.arm.group_goes(group):
            there = self.it.store.get(self.arm.group(group))
            assert there is not None
            assert not there.deleting, "a group that cannot go is left as it was"

    def _one_of(self, group: str, type: str, name: str, number: int) -> tuple[str, str]:
        """Id and type of a resource: of one that there is mostly, else of one that there may be."""
        if self.arm.resources and number % 4:
            id = self.pick(sorted(self.arm.resources), number)
            return id, str(self.arm.resources[id]["type"])
        return self.arm.id(group, type, name), type

    # --- resources -------------------------------------------------------------------------------------

    def _put(self, id: str, type: str, body: Document, condition: str) -> None:
        now = self.ask("GET", id, v=VERSIONS[type]).body if condition == "right" else {}
        headers = {
            "right": {"if_match": now.get("etag", 'W/"x"')},
            "wrong": {"if_match": 'W/"x"'},
            "new": {"if_none_match": "*"},
        }
        expected = self.arm.write(id, type, body, condition)
        given = {"location": LOCATION, **body}
        answer = self.ask("PUT", id, given, VERSIONS[type], **headers.get(condition, {}))
        self.ends(answer, expected)
        if expected.status < 400:
            self.etags.pop(id.lower(), None)

    @rule(group=groups, name=names, rules=rules, tags=st.none() | tags, condition=conditions)
    def put_security_group(self, group: str, name: str, rules: list[Any], tags: Any, condition: str) -> None:
        usual = {"protocol": "Tcp", "access": "Allow", "direction": "Inbound", "sourcePortRange": "*"}
        usual |= {"sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22"}
        made = [{"name": n, "properties": {**usual, "priority": p}} for n, p in rules]
        body = {"properties": {"securityRules": made}} | ({} if tags is None else {"tags": tags})
        self._put(self.arm.id(group, NSG, name), NSG, body, condition)

    @rule(group=groups, name=names, minutes=st.integers(4, 30), tags=st.none() | tags, condition=conditions)
    def put_address(self, group: str, name: str, minutes: int, tags: Any, condition: str) -> None:
        body: Document = {"sku": {"name": "Standard"}, "properties": {"idleTimeoutInMinutes": minutes}}
        self._put(self.arm.id(group, PIP, name), PIP, body | ({} if tags is None else {"tags": tags}), condition)

    @rule(group=groups, name=names, tags=tags)
    def put_identity(self, group: str, name: str, tags: Any) -> None:
        self._put(self.arm.id(group, IDENTITY, name), IDENTITY, {"tags": tags}, "")

    @rule(group=groups, name=names, other=groups, guards=st.none() | names, tags=tags, condition=conditions)
    def put_network(self, group: str, name: str, other: str, guards: str | None, tags: Any, condition: str) -> None:
        subnet: Document = {"name": "s", "properties": {"addressPrefix": PREFIXES[0]}}
        if guards:
            subnet["properties"]["networkSecurityGroup"] = {"id": self.arm.id(other, NSG, guards)}
        properties = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
        self._put(self.arm.id(group, VNET, name), VNET, {"tags": tags, "properties": properties}, condition)

    @rule(
        group=groups,
        name=names,
        subnet=st.sampled_from("stS"),
        prefix=st.sampled_from(PREFIXES),
        guards=st.none() | names,
    )
    def put_subnet(self, group: str, name: str, subnet: str, prefix: str, guards: str | None) -> None:
        network = self.arm.id(group, VNET, name)
        properties: Document = {"addressPrefix": prefix}
        if guards:
            properties["networkSecurityGroup"] = {"id": self.arm.id(group, NSG, guards)}
        expected = self.arm.put_subnet(network, subnet, properties)
        self.ends(self.ask("PUT", f"{network}/subnets/{subnet}", {"properties": properties}, VERSIONS[VNET]), expected)
        self.etags.pop(network.lower(), None)

    @rule(group=groups, name=names, subnet=st.sampled_from("stS"))
    def delete_subnet(self, group: str, name: str, subnet: str) -> None:
        network = self.arm.id(group, VNET, name)
        expected = self.arm.delete_subnet(network, subnet)
        self.ends(self.ask("DELETE", f"{network}/subnets/{subnet}", v=VERSIONS[VNET]), expected)
        self.etags.pop(network.lower(), None)

    @rule(group=groups, type=types, name=names, number=some)
    def delete(self, group: str, type: str, name: str, number: int) -> None:
        id, type = self._one_of(group, type, name, number)
        expected = self.arm.delete(id)
        # What has gone while its client waited is answered as gone.
        others = (OK,) if expected == ACCEPTED else ()
        self.ends(self.ask("DELETE", id, v=VERSIONS[type]), expected, *others)

    @rule(group=groups, type=types, name=names, number=some, tags=tags)
    def patch(self, group: str, type: str, name: str, number: int, tags: Document) -> None:
        id, type = self._one_of(group, type, name, number)
        expected = self.arm.tag(id, tags)
        self.ends(self.ask("PATCH", id, {"tags": tags}, VERSIONS[type]), expected)
        self.etags.pop(id.lower(), None)

    @rule(number=some, operation=st.sampled_from(("Merge", "Replace", "Delete")), tags=tags)
    def change_tags(self, number: int, operation: str, tags: Document) -> None:
        everything = [*self.arm.groups, *self.arm.resources]
        if not everything:
            return
        id = self.pick(everything, number)
        now = (self.arm.anything(id) or {})["tags"]
        without = {k: v for k, v in now.items() if k.lower() not in {t.lower() for t in tags}}
        left = {k: v for k, v in now.items() if (k.lower(), v) not in {(t.lower(), w) for t, w in tags.items()}}
        expected = self.arm.tag(id, {"Merge": without | tags, "Replace": tags, "Delete": left}[operation])
        body = {"operation": operation, "properties": {"tags": tags}}
        self.ends(self.ask("PATCH", f"{id}/providers/Microsoft.Resources/tags/default", body, GROUPS), expected)
        self.etags.pop(id, None)

    @rule(group=groups, type=types, name=names, number=some, to=groups)
    def move(self, group: str, type: str, name: str, number: int, to: str) -> None:
        id, type = self._one_of(group, type, name, number)
        group = id.split("/")[4]
        expected, code = self.arm.move(id, group, to)
        body = {"resources": [id], "targetResourceGroup": self.arm.group(to)}
        answer = self.ask("POST", f"{self.arm.group(group)}/moveResources", body, GROUPS)
        self.ends(answer, expected)
        if expected != ACCEPTED:
            return
        operation = answer.headers["location"].removeprefix(BASE).partition("?")
        ended = self.ask("GET", operation[0], query=operation[2])
        assert ended.code == code, f"{ended.raw[:400]!r}, not {code or 'moved'}"
        if not code:
            new = self.arm.group(to) + id[id.lower().index("/providers/") :]
            self.addresses[new.lower()] = self.addresses.pop(id.lower())

    @rule(group=groups, type=types, name=names, number=some, tags=tags)
    def twice_at_once(self, group: str, type: str, name: str, number: int, tags: Document) -> None:
        """Two who change one thing, or one who deletes it meanwhile: both are answered, and one of them wins."""
        id, type = self._one_of(group, type, name, number)
        if id.lower() not in self.arm.resources or self.arm.locked(id, "delete") or self.arm.users(id.lower()):
            return
        patch = {"tags": tags}, VERSIONS[type]
        other = {"tags": {"other": "x"}}, VERSIONS[type]

        async def both() -> list[Answer]:
            asked = await asyncio.gather(
                self._ask("PATCH", id, *patch), self._ask("DELETE" if tags else "PATCH", id, *other)
            )
            await self.it.quiet()
            return list(asked)

        for answer in self.run(both()):
            assert answer.status in (200, 201, 202, 204, 404, 409), answer.raw
        found = self.ask("GET", id, v=VERSIONS[type])
        self.etags.pop(id.lower(), None)
        if tags:
            assert found.status == 404, "what was deleted is gone, whoever was first"
            del self.arm.resources[id.lower()]
        else:
            assert found.body["tags"] in (tags, {"other": "x"})
            self.arm.resources[id.lower()]["tags"] = found.body["tags"]

    # --- locks -----------------------------------------------------------------------------------------

    def _lockable(self, number: int, group: str) -> str:
        everything = [*self.arm.groups, *self.arm.resources]
        return self.pick(everything, number) if everything and number % 3 else self.arm.group(group)

    @rule(number=some, group=groups, name=names, level=levels)
    def put_lock(self, number: int, group: str, name: str, level: str) -> None:
        scope = self._lockable(number, group)
        expected = self.arm.put_lock(scope, name, level)
        path = f"{scope}/{LOCKS}/{name}"
        self.ends(self.ask("PUT", path, {"properties": {"level": level}}, LOCKS_VERSION), expected)

    @rule(number=some, group=groups, name=names)
    def delete_lock(self, number: int, group: str, name: str) -> None:
        there = sorted(self.arm.locks)
        scope, name = self.pick(there, number).rsplit("/", 1) if there else (self.arm.group(group), name)
        expected = self.arm.delete_lock(scope, name)
        self.ends(self.ask("DELETE", f"{scope}/{LOCKS}/{name}", v=LOCKS_VERSION), expected)

    @rule()
    def delete_locks(self) -> None:
        for _ in range(len(self.arm.locks)):
            self.delete_lock(0, "a", "x")
