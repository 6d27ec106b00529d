"""One pass: bring the cloud in line with some Services, all at once.

Everything is read before it is written, so that a pass may be killed anywhere and the next one finishes its work. What
many Services need changed in one document (the load balancer, the security group) is one write.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud import addresses, balancer, firewall, kube, names
from sorairo.cluster.cloud.arm import Arm, ArmFailure
from sorairo.cluster.cloud.balancer import Target
from sorairo.cluster.cloud.kube import Gone, Kube
from sorairo.cluster.cloud.members import Members
from sorairo.cluster.cloud.service import Exposure, InvalidService, held, key_of, parse, wanted

Object = dict[str, Any]
Document = dict[str, Any]

BALANCERS, GROUPS, PUBLIC_IPS = (
    "Microsoft.Network/loadBalancers",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/publicIPAddresses",
)
ROUNDS = 8
"""How often a document is read again because somebody else wrote it meanwhile."""
AT_ONCE = 8
"""Requests under way at the same time."""


@dataclass(slots=True)
class Pass:
    """What is to be done, and what came of it."""

    services: Mapping[str, Object]
    """All there are, by `namespace/name`."""
    due: Iterable[Object]
    """Those to look at: as they are, or as they were before they went."""
    everything: bool = False
    """Also look for what belongs to Services that are no more."""
    failures: dict[str, Exception] = field(default_factory=dict)
    reached: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By Service: the addresses it has now; none for those that went."""
    changed: bool = False
    """Something in the cloud was written."""
    public_ips: dict[str, Document] | None = None
    """Of the node resource group, by lower-case id, where all were read at once."""


class Synchronizer:
    def __init__(self, config: CloudConfig, arm: Arm, cluster: Kube, members: Members) -> None:
        self._config = config
        self._arm = arm
        self._kube = cluster
        self._members = members
        self._limit = asyncio.Semaphore(AT_ONCE)

    async def run(self, it: Pass) -> None:
        """Fill in `failures`, `reached` and `changed`. Raises what stands in the way of all of it (ArmFailure,
        Unreachable, SignInFailed, NotReady)."""
        coming: list[tuple[Object, Exposure]] = []
        going: list[Object] = []
        for service in it.due:
            if not wanted(service):
                going.append(service)
                continue
            try:
                coming.append((service, parse(service)))
            except InvalidService as e:
                it.failures[key_of(service)] = e
        if it.everything:
            listed = await self._arm.list(self._config.id(PUBLIC_IPS, "").rstrip("/"))
            it.public_ips = {str(pip["id"]).lower(): pip for pip in listed}
        placed = await self._each(it, coming, lambda c: c[1].key, lambda c: self._target(it, *c))
        exposures = {e.key: e for _, e in coming if e.key in placed}
        targets = {key: (exposures[key], target) for key, (target, _) in placed.items()}
        documents, left = await self._balancers(it, targets, going)
        reached = {
            key: address
            for key, (exposure, target) in targets.items()
            if key not in it.failures
            and (address := placed[key][1] or balancer.address_of(documents.get(exposure.balancer), exposure, target))
        }
        for key in targets.keys() - reached.keys() - it.failures.keys():
            it.failures[key] = InvalidService("the load balancer has no private address yet")
        await self._guard(it, {k: (exposures[k], a) for k, a in reached.items()}, going)
        await self._release(it, [exposures[k] for k in reached], going, left, targets)
        for key, address in reached.items():
            it.reached[key] = (address, *exposures[key].more_addresses)
        await self._each(it, list(it.reached), str, lambda key: self._tell(it.services[key], it.reached[key]))
        await self._each(it, going, key_of, lambda s: self._forget(it, s))

    # --- addresses -----------------------------------------------------------------------------------

    async def _target(self, it: Pass, service: Object, exposure: Exposure) -> tuple[Target, str | None]:
        """Where a Service is to be reached, and its address if that is known. Its finalizer comes first."""
        new = not held(service)
        if new:
            await self._kube.hold(service)
        if exposure.internal:
            subnet = self._config.subnet_id(exposure.subnet or "")
            if await self._arm.get(subnet) is None:
                raise InvalidService(f"failed to get subnet: {self._config.vnet}/{subnet.rsplit('/', 1)[1]}")
            return Target(subnet=subnet, address=exposure.address), None
        id, pip = await self._public_ip(it, exposure, new)
        body = addresses.wanted(exposure, pip, location=self._config.location, tags=self._config.tags)
        # One that was refused its address (no more left) is there without it, and is asked for again.
        if body != pip or not pip["properties"].get("ipAddress"):
            pip = await self._arm.put(id, body)
            it.changed = True
        assert pip is not None
        address = pip["properties"].get("ipAddress")
        if not address:
            raise InvalidService(f"the public IP {pip['name']} has no address yet")
        return Target(public_ip=pip["id"]), address

    async def _public_ip(self, it: Pass, exposure: Exposure, new: bool) -> tuple[str, Document | None]:
        """The id of the public IP to use, and its document; None when it is to be made."""
        group = exposure.pip_group or self._config.resource_group
        if exposure.pip_name:
            id = self._config.id(PUBLIC_IPS, exposure.pip_name, group)
            pip = await self._arm.get(id)
            if pip is None:
                raise InvalidService(
                    f"PublicIP from annotation azure-pip-name={exposure.pip_name} for service {exposure.key} "
                    "doesn't exist"
                )
            return id, pip
        if exposure.address:
            for pip in await self._arm.list(self._config.id(PUBLIC_IPS, "", group).rstrip("/")):
                if pip["properties"].get("ipAddress") == exposure.address:
                    return pip["id"], pip
            raise InvalidService(f"user supplied IP Address {exposure.address} was not found in resource group {group}")
        id = self._config.id(PUBLIC_IPS, names.public_ip(exposure.prefix), group)
        # Before its finalizer was on, nothing was made.
        if new:
            return id, None
        if it.public_ips is not None and not exposure.pip_group:
            return id, it.public_ips.get(id.lower())
        return id, await self._arm.get(id)

    # --- load balancers ------------------------------------------------------------------------------

    async def _balancers(
        self, it: Pass, targets: Mapping[str, tuple[Exposure, Target]], going: list[Object]
    ) -> tuple[dict[str, Document], dict[str, set[str]]]:
        """The load balancers as they are then, by name, and which public IPs each Service (prefix) has left."""
        for left in range(ROUNDS - 1, -1, -1):
            try:
                return await self._balancers_once(it, targets, going)
            except ArmFailure as e:
                if not e.moved or not left:
                    raise
        raise AssertionError

    async def _balancers_once(
        self, it: Pass, targets: Mapping[str, tuple[Exposure, Target]], going: list[Object]
    ) -> tuple[dict[str, Document], dict[str, set[str]]]:
        listed = await self._arm.list(self._config.id(BALANCERS, "").rstrip("/"))
        there = {str(lb["name"]).lower(): lb for lb in listed}
        left: dict[str, set[str]] = {}
        alive = {names.prefix(s["metadata"]["uid"]) for s in it.services.values()}
        for name in (names.PUBLIC, names.INTERNAL):
            here = [t for t in targets.values() if t[0].balancer == name]
            elsewhere = {e.prefix for e, _ in targets.values() if e.balancer != name}
            unwanted = elsewhere | {names.prefix(s["metadata"]["uid"]) for s in going}
            if it.everything:
                unwanted |= _owners(there.get(name)) - alive
            if name not in there and not here:
                continue
            id = self._config.id(BALANCERS, name)
            made = balancer.change(
                id,
                there.get(name),
                here,
                unwanted,
                alive,
                fresh=balancer.fresh(self._config.location, self._config.tags),
                outbound_rule=self._config.outbound_rule,
            )
            for prefix, ips in made.left.items():
                left.setdefault(prefix, set()).update(ips)
            if made.document is None and name in there:
                await self._members.leave(id)
                await self._arm.delete(id)
                del there[name]
            elif made.document is not None and made.changed:
                there[name] = await self._put_balancer(id, there.get(name), made.document)
            it.changed |= made.changed
            it.failures |= made.refused
        balancers = [self._config.id(BALANCERS, n) for n in (names.PUBLIC, names.INTERNAL) if n in there]
        await self._members.join(balancers, thorough=it.everything)
        return there, left

    async def _put_balancer(self, id: str, before: Document | None, after: Document) -> Document:
        try:
            # Where an internal Service is, only the answer tells.
            return await self._arm.put(id, after, read=id.endswith(f"/{names.INTERNAL}"))
        except ArmFailure as e:
            if e.operation:
                await self._undo(id, before)
            raise

    async def _undo(self, id: str, before: Document | None) -> None:
        """What was accepted and then failed is stored: one Service's wish would fail everybody's next."""
        with contextlib.suppress(ArmFailure):
            now = await self._arm.get(id)
            if now and before:
                await self._arm.put(id, {**before, "etag": now["etag"]}, read=False)
            elif now:
                await self._arm.delete(id)

    # --- the security group --------------------------------------------------------------------------

    async def _guard(self, it: Pass, reached: Mapping[str, tuple[Exposure, str]], going: list[Object]) -> None:
        if not self._config.security_group:
            return
        openings: list[firewall.Opening] = []
        untouched: set[str] = set()
        leaving = {key_of(s) for s in going}
        nodes: tuple[str, ...] | None = None
        for key, service in it.services.items():
            if key in leaving or not wanted(service):
                continue
            known = kube.addresses(service)
            try:
                exposure, address = reached[key] if key in reached else (parse(service), "")
            except InvalidService:
                untouched.update(known)
                continue
            if key in it.failures:
                untouched.update(known)
                continue
            to = (address, *exposure.more_addresses) if address else known
            if to and not exposure.floating:
                nodes = await self._kube.node_addresses() if nodes is None else nodes
                to = nodes
            openings.append(firewall.Opening(exposure, to))
        id = self._config.id(GROUPS, self._config.security_group)
        for left in range(ROUNDS - 1, -1, -1):
            before = await self._arm.get(id)
            if before is None:
                raise InvalidService(f"the security group {self._config.security_group} was not found")
            after, changed = firewall.change(before, openings, untouched)
            if not changed:
                return
            try:
                await self._arm.put(id, after, read=False)
            except ArmFailure as e:
                if not e.moved or not left:
                    raise
                continue
            it.changed = True
            return

    # --- what is left over ---------------------------------------------------------------------------

    async def _release(
        self,
        it: Pass,
        staying: list[Exposure],
        going: list[Object],
        left: Mapping[str, set[str]],
        targets: Mapping[str, tuple[Exposure, Target]],
    ) -> None:
        """Give back public IPs that Services no longer use."""
        leaving: set[tuple[str, str]] = set()
        for exposure in staying:
            now = (targets[exposure.key][1].public_ip or "").lower()
            own = self._config.id(PUBLIC_IPS, names.public_ip(exposure.prefix), exposure.pip_group or "").lower()
            leaving |= {(exposure.key, id) for id in left.get(exposure.prefix, set()) | {own} if id != now}
        for service in going:
            prefix = names.prefix(service["metadata"]["uid"])
            group = kube_group(service)
            own = self._config.id(PUBLIC_IPS, names.public_ip(prefix), group).lower()
            leaving |= {(key_of(service), id) for id in left.get(prefix, set()) | {own}}
        for id, pip in (it.public_ips or {}).items():
            leaving |= {(key, id) for key in _forgotten(it, pip)}
        await self._each(it, sorted(leaving), lambda pair: pair[0], lambda pair: self._free(it, *pair))

    async def _free(self, it: Pass, key: str, id: str) -> None:
        for left in range(ROUNDS - 1, -1, -1):
            pip = await self._arm.get(id)
            if pip is None:
                return
            after = addresses.released(pip, key)
            if after == pip:
                return
            it.changed = True
            try:
                if after is None:
                    await self._arm.delete(id)
                else:
                    await self._arm.put(id, after)
                return
            except ArmFailure as e:
                if not e.moved or not left:
                    raise

    # --- telling the cluster -------------------------------------------------------------------------

    async def _tell(self, service: Object, reached: tuple[str, ...]) -> None:
        if kube.addresses(service) != reached:
            await self._kube.tell(service, reached)

    async def _forget(self, it: Pass, service: Object) -> None:
        key = key_of(service)
        if key in it.services and it.services[key]["metadata"]["uid"] == service["metadata"]["uid"]:
            if kube.addresses(service) and not service["metadata"].get("deletionTimestamp"):
                await self._kube.tell(service, ())
            if held(service):
                await self._kube.let_go(service)
        it.reached[key] = ()

    async def _each(
        self, it: Pass, items: Iterable[Any], key: Callable[[Any], str], work: Callable[[Any], Awaitable[Any]]
    ) -> dict[str, Any]:
        """Do something for each, some at a time: results by key. One that fails is its Service's failure, and what
        has failed before is left out."""
        results: dict[str, Any] = {}

        async def one(item: Any) -> None:
            name = key(item)
            async with self._limit:
                try:
                    results[name] = await work(item)
                except Gone:
                    pass  # It went meanwhile; a watch will tell.
                except Exception as e:
                    it.failures[name] = e

        await asyncio.gather(*(one(i) for i in items if key(i) not in it.failures))
        return results


def kube_group(service: Object) -> str:
    """The group that a Service's public IP is in; '' for the node resource group."""
    return ((service["metadata"].get("annotations") or {}).get(names.A_GROUP) or "").strip()


def _forgotten(it: Pass, pip: Document) -> set[str]:
    """Services that a public IP's tags name and that are no more."""
    if (pip.get("tags") or {}).get(names.CLUSTER_TAG) != names.CLUSTER:
        return set()
    found = set()
    for key in addresses.used_by(pip):
        service = it.services.get(key)
        if service is None or not (wanted(service) or held(service)):
            found.add(key)
    return found


def _owners(document: Document | None) -> set[str]:
    properties = (document or {}).get("properties") or {}
    items = (item for part in balancer.PARTS for item in properties.get(part) or [])
    return {prefix for item in items if (prefix := names.owner(item["name"]))}
