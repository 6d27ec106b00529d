"""Requests to the directory and to the token service."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from fuzz.anything import FILTERS, Anything, Request
from fuzz.origin import Origin
from sorairo.identity.graph.shapes import WRITABLE


class People(Anything):
    _it: Origin

    def _graph(self) -> Request:
        kind = self._pick(list(WRITABLE))
        notes = [
            d
            for k in ("application", "servicePrincipal", "user", "group")
            for _, d in self._it.store.notes(f"identity/{k}")
        ]
        some = str(self._pick(notes).get("id")) if notes and self._random.random() < 0.8 else str(uuid.UUID(int=1))
        other = str(self._pick(notes).get("id")) if notes else "x"
        refers = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other}"}
        asked = self._pick(
            (
                "",
                f"$filter={quote(self._pick(FILTERS))}",
                "$top=1",
                "$top=0",
                "$search=%22displayName:a%22",
                "$select=id,displayName&$count=true",
                "$orderby=displayName desc",
                "$skiptoken=x",
                "$expand=owners",
            )
        )
        body, made = self._person(kind), f"/v1.0/{kind}s"
        fed = {
            "name": "f",
            "issuer": "https://i",
            "subject": "s",
            "audiences": ["api://AzureADTokenExchange"],
            **self.thing(),
        }
        method, path, sent = self._pick(
            (
                ("POST", made, body),
                ("POST", made, body),
                ("GET", made, None),
                ("GET", f"{made}/{some}", None),
                ("PATCH", f"{made}/{some}", body),
                ("DELETE", f"{made}/{some}", None),
                (
                    "POST",
                    f"{made}/{some}/addPassword",
                    {"passwordCredential": self._pick((self.thing(), {"displayName": "x"}, None))},
                ),
                ("POST", f"{made}/{some}/removePassword", self.thing()),
                ("GET", f"{made}/{some}/owners", None),
                ("POST", f"{made}/{some}/owners/$ref", refers),
                ("POST", f"/v1.0/groups/{some}/members/$ref", self._pick((refers, self.thing()))),
                ("DELETE", f"/v1.0/groups/{some}/members/{other}/$ref", None),
                ("GET", f"/v1.0/groups/{some}/transitiveMembers", None),
                ("POST", f"{made}/{some}/getMemberGroups", {"securityEnabledOnly": True}),
                (
                    "POST",
                    f"{made}/{some}/checkMemberGroups",
                    self._pick(({"groupIds": [other]}, self.thing(), {"groupIds": self.junk()})),
                ),
                ("POST", f"/v1.0/applications/{some}/federatedIdentityCredentials", fed),
                ("GET", f"/v1.0/applications/{some}/federatedIdentityCredentials", None),
                (
                    "POST",
                    "/v1.0/directoryObjects/getByIds",
                    {"ids": self._pick(([some], self.junk())), "types": self._pick((["user"], self.junk()))},
                ),
                ("GET", f"/v1.0/directoryObjects/{some}", None),
                ("GET", "/v1.0/me", None),
                ("GET", "/v1.0/organization", None),
                ("GET", f"/v1.0/{kind}s(appId='{some}')", None),
            )
        )
        return Request(method, path, asked if method == "GET" else "", sent)

    def _token(self) -> Request:
        form = {
            "grant_type": self._pick(("client_credentials", "refresh_token", "authorization_code", "x")),
            "client_id": self._pick((self._it.admin.clientId, "x", "")),
            "scope": self._pick(("https://management.azure.com/.default", "x", "")),
            "client_secret": "wrong",
            "code": "x",
            "refresh_token": "a.b.c",
            "client_assertion": "a.b.c",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "redirect_uri": "x",
        }
        kept = {k: v for k, v in form.items() if self._random.random() < 0.7}
        raw = "&".join(f"{k}={quote(v)}" for k, v in kept.items()).encode()
        return Request("POST", f"/{self._it.admin.tenantId}/oauth2/v2.0/token", "", raw)

    def _person(self, kind: str) -> Any:
        name = self._pick(("ann", "ben", "é"))
        whole: dict[str, Any] = {
            "displayName": name,
            "mailNickname": "n",
            "mailEnabled": False,
            "securityEnabled": True,
        }
        if kind == "user":
            whole = {"displayName": name, "mailNickname": "n", "accountEnabled": True}
            if self._random.random() < 0.05:  # hashing a password takes a while
                whole |= {
                    "userPrincipalName": f"{name}@sorairo.internal",
                    "passwordProfile": {"password": "Correct-Horse-1"},
                }
            else:
                whole |= {"userPrincipalName": self.junk(), "passwordProfile": self.junk()}
        if kind in ("application", "servicePrincipal"):
            whole = {"displayName": name, "keyCredentials": self._pick(([], [{"key": "x"}], self.junk()))}
        if kind == "servicePrincipal":
            applications = [d["appId"] for _, d in self._it.store.notes("identity/application")]
            whole = {"appId": self._pick(applications)}
        for key in self._random.sample(list(WRITABLE[kind]), 2):
            if self._random.random() < max(self._wild * 5, 0.1):
                whole[key] = self.junk()
        return self.spoiled(whole)
