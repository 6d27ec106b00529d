"""API servers in memory: objects by path, nodes that come and go with their machines."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import httpx

from sorairo.drivers.hollow.machines import HollowMachines
from sorairo.drivers.kubernetes import Access, KubernetesApi, NotReady, Object
from sorairo.engine.documents import merge_patch

NODES = "/api/v1/nodes"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


class Etcd:
    """What every cluster of a host has stored: it outlives the one who asks. By API server's URL, then by path."""

    def __init__(self) -> None:
        self.clusters: dict[str, dict[str, Object]] = {}
        self.shut = False
        """No API server answers."""
        self._version = 0

    def put(self, objects: dict[str, Object], path: str, obj: Object) -> Object:
        self._version += 1
        objects[path] = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        return objects[path]


class MemoryApi(KubernetesApi):
    """An API server answers while some machine's `kube-apiserver` runs; a node registers as soon as its kubelet does,
    or (KWOK's) is Ready as soon as it is made."""

    def __init__(self, etcd: Etcd, control_planes: HollowMachines, nodes: HollowMachines) -> None:
        super().__init__()
        self._etcd = etcd
        self._control_planes = control_planes
        self._nodes = nodes

    async def request(self, access: Access, method: str, path: str, **kwargs: Any) -> httpx.Response:
        await asyncio.sleep(0)
        objects = self._objects(access)
        if path == "/readyz":
            return httpx.Response(200, text="ok")
        request = httpx.Request(method, access.url + path)
        body = kwargs.get("json") or json.loads(kwargs.get("content") or "{}")
        if method == "GET" and path in objects:
            return httpx.Response(200, json=objects[path], request=request)
        if method == "GET" and _is_list(path):
            items = [o for key, o in sorted(objects.items()) if key.rsplit("/", 1)[0] == path]
            return httpx.Response(200, json={"items": items}, request=request)
        if method == "POST":
            key = f"{path}/{body['metadata']['name']}"
            if key in objects:
                return httpx.Response(409, json={}, request=request)
            ready = {"status": {**body.get("status", {}), **READY}} if path == NODES else {}
            return httpx.Response(201, json=self._etcd.put(objects, key, {**body, **ready}), request=request)
        if method == "PATCH" and ("fieldManager" in kwargs.get("params", {}) or path in objects):
            merged = merge_patch(objects.get(path, {}), body)
            return httpx.Response(200, json=self._etcd.put(objects, path, merged), request=request)
        if method == "DELETE" and path in objects:
            return httpx.Response(200, json=objects.pop(path), request=request)
        return httpx.Response(404, json={"message": "not found"}, request=request)

    async def create_all(self, access: Access, path: str, objects: Iterable[Object], *, connections: int = 4) -> None:
        for obj in objects:
            await self.request(access, "POST", path, json=obj)

    async def watch(self, access: Access, path: str, *, seconds: float, **params: Any) -> AsyncGenerator[Object, None]:
        seen: dict[str, Object] = {}
        while True:
            now = {o["metadata"]["name"]: o for o in (await self.get(access, path) or {"items": []})["items"]}
            for name in seen.keys() | now.keys():
                if name not in now:
                    yield {"type": "DELETED", "object": seen[name]}
                elif now[name] != seen.get(name):
                    yield {"type": "MODIFIED" if name in seen else "ADDED", "object": now[name]}
            seen = copy.deepcopy(now)
            await asyncio.sleep(0.002)

    def _objects(self, access: Access) -> dict[str, Object]:
        server = access.url.removeprefix("https://")
        for id, spec in self._control_planes.specs.items():
            argv = next((s.argv for s in spec.services if s.name == "kube-apiserver"), ())
            address, port = _flag(argv, "--bind-address"), _flag(argv, "--secure-port")
            if server in (f"{address}:{port}", address) and self._control_planes.states[id].running:
                break
        else:
            server = ""
        if not server or self._etcd.shut:
            raise NotReady(f"nobody listens at {access.url}")
        objects = self._etcd.clusters.setdefault(access.url, {})
        known = {access.url.encode(), f"https://{_flag(argv, '--advertise-address')}".encode()}
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        if account not in objects:
            self._etcd.put(objects, account, {"metadata": {"name": "default", "namespace": "default"}})
        for id, spec in self._nodes.specs.items():
            kubelet = any(s.name == "kubelet" for s in spec.services) and self._nodes.states[id].running
            path = f"{NODES}/{spec.hostname}"
            ours = any(each in f.content for f in spec.files.values() for each in known)
            if kubelet and ours and path not in objects:
                metadata = {"name": spec.hostname, "labels": {}, "annotations": {}}
                self._etcd.put(objects, path, {"metadata": metadata, "spec": {}, "status": READY})
        return objects


def _flag(argv: tuple[str, ...], name: str) -> str:
    return next((a.partition("=")[2] for a in argv if a.startswith(f"{name}=")), "")


def _is_list(path: str) -> bool:
    return path.rsplit("/", 1)[1] in ("nodes", "pods", "serviceaccounts", "configmaps", "services")
