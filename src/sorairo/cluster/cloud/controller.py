"""The cloud controller of one cluster: Services of type LoadBalancer become load balancers, and nodes' blocks routes.

It watches Services and nodes, and keeps nothing that matters: what a Service has in the cloud is found by its uid in
names, and a finalizer keeps the Service until that is gone. A pass takes all that is due at once.
https://kubernetes.io/docs/concepts/architecture/cloud-controller/#service-controller
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any

import structlog

from sorairo.cluster.azure_json import CloudConfig
from sorairo.cluster.cloud import kube, names
from sorairo.cluster.cloud.arm import Arm, ArmFailure, Unreachable
from sorairo.cluster.cloud.kube import Events, Kube
from sorairo.cluster.cloud.members import Members
from sorairo.cluster.cloud.routes import Routes
from sorairo.cluster.cloud.service import Exposure, InvalidService, held, key_of, parse, wanted
from sorairo.cluster.cloud.signin import SignInFailed
from sorairo.cluster.cloud.sync import Pass, Synchronizer
from sorairo.drivers.kubernetes import Access, KubernetesApi, NotReady
from sorairo.drivers.mirror import Mirror
from sorairo.engine import trace

log = structlog.get_logger(__name__)

Object = dict[str, Any]

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds after which a Service that failed is tried again, doubled each time."""
EVERYBODYS = (ArmFailure, SignInFailed, Unreachable, NotReady, InvalidService, TimeoutError)
"""What a whole pass fails for, as far as is foreseen."""
TOGETHER = 0.005
"""Seconds that a pass waits for more of what comes at once (`kubectl apply -f` of many)."""


@dataclass(slots=True)
class _Failing:
    attempts: int
    at: float
    """When it is due again, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class _Done:
    """What a Service was when it was last in line."""

    uid: str
    exposure: Exposure | None
    reached: tuple[str, ...]


class CloudController:
    """`run` until cancelled. Its Events are written before it ends only as far as they have come."""

    def __init__(
        self, config: CloudConfig, arm: Arm, api: KubernetesApi, access: Access, pod_cidr: str | None = None
    ) -> None:
        """`pod_cidr`: whose nodes' blocks need routes; None: pods are found without."""
        self._kube = Kube(api, access)
        self._events = Events(self._kube)
        self._services = Mirror(api, access, "/api/v1/services", self._service, keep=_slim)
        self._nodes = Mirror(api, access, "/api/v1/nodes", self._node, keep=_usable, metadata_only=True)
        self._sync = Synchronizer(config, arm, self._kube, Members(config, arm, lambda: self._nodes.objects))
        self._routes = Routes(config, arm, self._kube, self._events, pod_cidr) if pod_cidr else None
        self._due: dict[str, Object | None] = {}
        """By key; with a Service that went without our having let it go, as it was last."""
        self._regardless: set[str] = set()
        """Of those due: to be looked at though they themselves have not changed."""
        self._failing: dict[str, _Failing] = {}
        self._done: dict[str, _Done] = {}
        self._wake = asyncio.Event()
        self._everything = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run())
            tasks.create_task(self._nodes.run())
            tasks.create_task(self._events.run())
            tasks.create_task(self._work())
            if self._routes:
                tasks.create_task(self._routes.run())

    # --- what happens --------------------------------------------------------------------------------

    def _service(self, key: str, now: Object | None, before: Object | None) -> None:
        if now is None:
            self._done.pop(key, None)
            self._failing.pop(key, None)
            # With the finalizer still on, somebody took the Service away by force: what it had is to go all the same.
            if before is not None and held(before) and self._services.synced.is_set():
                self._due[key] = {**before, "metadata": {**before["metadata"], "deletionTimestamp": "gone"}}
        elif self._is_due(now):
            self._due[key] = None
            self._failing.pop(key, None)
        else:
            return
        self._wake.set()

    def _node(self, key: str, now: bool | None, before: bool | None) -> None:
        if now != before and self._nodes.synced.is_set():
            # Everybody's pools may change; one Service that is due brings all in line.
            for name, service in self._services.objects.items():
                if wanted(service) and held(service):
                    self._due[name] = None
                    self._regardless.add(name)
                    self._wake.set()
                    if _floating(service):
                        break

    def _is_due(self, service: Object) -> bool:
        if not wanted(service):
            return held(service)
        done = self._done.get(key_of(service))
        return (
            done is None
            or done.uid != service["metadata"]["uid"]
            or not held(service)
            or done.exposure != _exposure(service)
            or kube.addresses(service) != done.reached
        )

    # --- what is done about it -----------------------------------------------------------------------

    async def _work(self) -> None:
        await self._services.synced.wait()
        await self._nodes.synced.wait()
        self._due |= {key: None for key, s in self._services.objects.items() if wanted(s) or held(s)}
        while True:
            await self._something_due()
            await asyncio.sleep(TOGETHER)
            self._wake.clear()
            now = time.monotonic()
            due, self._due = self._due, {}
            regardless, self._regardless = self._regardless, set()
            due |= {key: None for key, failing in self._failing.items() if failing.at <= now}
            await self._pass({k: v for k, v in due.items() if v is not None or self._still_due(k, k in regardless)})

    def _still_due(self, key: str, regardless: bool) -> bool:
        service = self._services.objects.get(key)
        return service is not None and (regardless or key in self._failing or self._is_due(service))

    async def _something_due(self) -> None:
        while not self._due:
            left = min((f.at for f in self._failing.values()), default=float("inf")) - time.monotonic()
            if left <= 0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(left if left < float("inf") else None):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _pass(self, due: dict[str, Object | None]) -> None:
        services = dict(self._services.objects)
        looked_at = [service or services[key] for key, service in due.items()]
        everything = self._everything
        if not looked_at and not everything:
            return
        if everything and not looked_at and not services:
            self._everything = False
            return
        quiet = {key_of(s) for s in looked_at if self._in_line(s)}
        for service in looked_at:
            if key_of(service) not in quiet:
                self._begin(service)
        it = Pass(services, looked_at, everything)
        named = key_of(looked_at[0]) if len(looked_at) == 1 else f"{len(looked_at)} services"
        with trace.span(f"expose {named}", "reconcile", services=[key_of(s) for s in looked_at][:50]) as span:
            cause = await self._attempt(it)
            if _may_be_ones_own(cause) and len(looked_at) > 1:
                it.failures.clear()
                for service in looked_at:
                    one = Pass(services, [service])
                    await self._attempt(one)
                    it.failures |= one.failures
                    it.reached |= one.reached
                    it.changed |= one.changed
            if it.failures:
                span.status = "error"
                span.attributes["error"] = "; ".join(f"{k}: {e}" for k, e in it.failures.items())[:2000]
        self._everything = everything and bool(it.failures)
        for service in looked_at:
            self._end(service, it, quiet=key_of(service) in quiet and not it.changed)

    async def _attempt(self, it: Pass) -> Exception | None:
        """Run a pass; what stands in the way of all of it is everybody's failure, and returned."""
        try:
            await self._sync.run(it)
        except EVERYBODYS as e:
            cause: Exception = e
        except Exception as e:
            log.exception("a pass over Services failed")
            cause = e
        else:
            return None
        for service in it.due:
            it.failures.setdefault(key_of(service), cause)
        it.reached.clear()
        return cause

    def _in_line(self, service: Object) -> bool:
        """It was so before this process began, or is looked at for others' sake: nothing to tell if nothing changes."""
        key = key_of(service)
        if not wanted(service) or not held(service) or not kube.addresses(service) or key in self._failing:
            return False
        return key not in self._done or not self._is_due(service)

    def _begin(self, service: Object) -> None:
        if not wanted(service):
            self._events.normal(service, "DeletingLoadBalancer", "Deleting load balancer")
        else:
            self._events.normal(service, "EnsuringLoadBalancer", "Ensuring load balancer")

    def _end(self, service: Object, it: Pass, *, quiet: bool) -> None:
        key = key_of(service)
        if (failure := it.failures.get(key)) is not None:
            self._failed(service, failure)
            return
        self._failing.pop(key, None)
        if key not in it.reached:
            return
        if not wanted(service):
            self._done.pop(key, None)
            self._events.normal(service, "DeletedLoadBalancer", "Deleted load balancer")
            return
        exposure = _exposure(service)
        self._done[key] = _Done(service["metadata"]["uid"], exposure, it.reached[key])
        if exposure and exposure.sources.invalid:
            given = " ".join(f'"{r}"' for r in exposure.sources.invalid)
            self._events.warning(
                service,
                "InvalidConfiguration",
                f"Found invalid spec.LoadBalancerSourceRanges [{given}], ignoring and adding a default DenyAll rule in "
                "security group.",
            )
        if not quiet:
            self._events.normal(service, "EnsuredLoadBalancer", "Ensured load balancer")
        now = self._services.objects.get(key)
        if now is not None and self._is_due(now) and _exposure(now) != exposure:
            self._due[key] = None  # It was changed while this was being done.

    def _failed(self, service: Object, failure: Exception) -> None:
        key = key_of(service)
        doing = "ensure" if wanted(service) else "delete"
        failing = self._failing.get(key) or _Failing(0, 0.0)
        pause = min(FIRST_PAUSE * 2**failing.attempts, LONGEST_PAUSE) * random.uniform(0.9, 1.1)
        self._failing[key] = _Failing(failing.attempts + 1, time.monotonic() + pause)
        if isinstance(failure, kube.Moved | NotReady):
            return  # The cluster's own doing, and no news to it.
        self._events.warning(
            service,
            "SyncLoadBalancerFailed",
            f"Error syncing load balancer: failed to {doing} load balancer: {failure or type(failure).__name__}",
        )
        log.info("a Service is not in line", service=key, cause=str(failure)[:300], again_in=round(pause, 1))


def _may_be_ones_own(cause: Exception | None) -> bool:
    """Whether one Service may be what all failed for: ARM refuses a whole document for one wish in it, and what nobody
    foresaw is seldom in every Service. Then each is tried by itself."""
    if isinstance(cause, ArmFailure):
        return cause.status < 500 and cause.status not in (401, 403)
    return cause is not None and not isinstance(cause, EVERYBODYS)


def _exposure(service: Object) -> Exposure | None:
    try:
        return parse(service)
    except InvalidService:
        return None


def _floating(service: Object) -> bool:
    exposure = _exposure(service)
    return exposure is None or exposure.floating


def _slim(service: Object) -> Object:
    service["metadata"].pop("managedFields", None)
    return service


def _usable(node: Object) -> bool:
    return names.EXCLUDED not in (node["metadata"].get("labels") or {})
