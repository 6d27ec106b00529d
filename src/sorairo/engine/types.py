"""The five nouns: Resource, ResourceType, Operation, Reconciler, and (in `drivers.protocols`) Driver.

A resource type is a declaration; what it takes to make one real is a Reconciler: `observe` what is, `plan` the
difference (pure), and run the plan's Steps (idempotent). The store's row is the queue.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from sorairo.engine.ids import ResourceId, parse_id

Document = dict[str, Any]
ProvisioningState = Literal["Creating", "Updating", "Deleting", "Succeeded", "Failed", "Canceled"]
OperationStatus = Literal["InProgress", "Succeeded", "Failed", "Canceled"]
Schema = Callable[[str, Document], None]
"""Holds a body to a named schema, dropping in place what clients cannot set; raises ArmError."""
Guard = Callable[[str, ResourceId], None]
"""`write`, `delete` or `action` on a resource: raises ArmError when a lock forbids it."""
Moves = Literal["yes", "no", "unbuilt"]
"""Whether resources of a type go to another group: `yes` when nothing on the host has its name from their id, `no`
where Azure refuses it, `unbuilt` where only sorairo does."""
TERMINAL: frozenset[str] = frozenset({"Succeeded", "Failed", "Canceled"})


@dataclass(slots=True)
class Resource:
    """A stored ARM document, as the store's row holds it.

    `body` is what the client wants (defaults filled in; no id, name, type, etag or read-only property);
    `status` is what sorairo found (read-only properties, laid over `body["properties"]` when shown);
    `private` is never shown (secrets, allocations that must survive a crash).
    """

    id: str
    body: Document
    status: Document = field(default_factory=dict)
    private: Document = field(default_factory=dict)
    generation: int = 1
    observed_generation: int = 0
    provisioning_state: str = "Creating"
    deleting: bool = False
    operation: str | None = None
    """Id of the operation that the present generation belongs to."""
    error: Document | None = None
    """Why the last reconcile of this generation failed."""
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: float = field(default_factory=time.time)
    changed_at: float = field(default_factory=time.time)
    created_by: str = ""
    managed_by: str | None = None
    """Resource id of the resource on whose behalf this one exists (a cluster's scale set)."""

    @property
    def rid(self) -> ResourceId:
        return parse_id(self.id)

    @property
    def key(self) -> str:
        return self.id.lower()

    @property
    def properties(self) -> Document:
        return self.body.setdefault("properties", {})  # type: ignore[no-any-return]

    @property
    def settled(self) -> bool:
        return self.observed_generation >= self.generation and not self.deleting


@dataclass(slots=True)
class Operation:
    """A stored long-running operation; what `Azure-AsyncOperation` and `Location` answer from."""

    id: str
    resource_id: str
    action: str
    """`PUT`, `PATCH`, `DELETE`, or the POST action's name."""
    status: OperationStatus = "InProgress"
    error: Document | None = None
    result: Any = None
    """What `Location` answers with once Succeeded (POST actions)."""
    input: Any = None
    """The body a POST action works on; cleared when it ends, since it may hold secrets."""
    principal: str = ""
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    correlation_id: str = ""
    message: str = ""
    """What it is waiting for, in words."""
    location: str = ""
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One idempotent thing to do: `await run(ctx, resource, *args)`.

    Equal in name and args means equal: plans are compared as data in tests.
    """

    name: str
    run: Callable[..., Awaitable[None]] = field(compare=False, repr=False)
    args: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()
    """Names of steps of the same plan that must be done first; steps without a path between them run at once."""


A = TypeVar("A")


class Context(Protocol):
    """What the engine gives a reconciler: other resources (as ARM documents) and its own durable notes."""

    async def get(self, resource_id: str) -> Resource | None: ...
    async def naming(self, id: str, *, type: str | None = None) -> list[Resource]:
        """As Reader's."""
        ...

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]: ...

    async def put(
        self, resource_id: str, body: Document, *, private: Document | None = None, if_match: str | None = None
    ) -> Resource:
        """Create or replace another resource on behalf of the one being reconciled; no new generation if equal.

        `if_match`: the etag it must still have (Retry otherwise), where others write to it too."""
        ...

    async def delete(self, resource_id: str) -> None: ...

    async def move(self, ids: Mapping[str, str]) -> None:
        """Give resources other ids, old → new, in one transaction. Raises ArmError when a lock forbids it."""
        ...

    async def settled(self, resource_id: str, *, timeout: float = 60.0) -> Resource | None:
        """Wait until a resource's latest generation is reached (None: until it is gone).

        Raises the ArmError it failed with, or Retry when the time is over."""
        ...

    async def watch(self, *resource_ids: str, timeout: float) -> None:
        """Until one of them is written, or `timeout` seconds are over."""
        ...

    async def save(
        self, resource: Resource, *, status: Document | None = None, private: Document | None = None
    ) -> None:
        """Durably merge into `status` and `private` of the resource being reconciled (intent before effect)."""
        ...

    async def claim(self, pool: str, candidates: Iterable[str], count: int = 1) -> tuple[str, ...]:
        """Durably take the first free `count` of `candidates` for the resource being reconciled.

        The same answer every time it is asked again; given back when the resource's row goes. Raises ArmError
        `PoolExhausted` when there are not enough: callers word it for their users."""
        ...

    async def claim_numbers(
        self,
        pool: str,
        within: range,
        count: int,
        *,
        exactly: Iterable[int] = (),
        blocks: bool = False,
        then: Callable[[tuple[int, ...]], Document] = ...,
    ) -> tuple[int, ...]:
        """Take numbers of a pool, as `claim` takes names: `exactly` those given, and the first free `count` of `within`
        besides, which are returned. They follow one another if so many do somewhere; with `blocks` they begin where a
        network prefix of their size does, if one is free. `then` says what to merge into `private` with it."""
        ...

    async def say(self, message: str) -> None:
        """What the operation is waiting for, shown by `sorairo trace` and progress displays."""
        ...


class Reconciler(Protocol[A]):
    """Level-triggered: `plan` compares what is wanted with what `observe` found, never with what was done before.

    With `resource.deleting`, the plan is what must be removed; when it is empty, the row goes.
    `plan(desired == actual) == []` holds for every reconciler, and means the generation is reached.
    """

    async def observe(self, ctx: Context, resource: Resource) -> A: ...
    def plan(self, resource: Resource, actual: A) -> list[Step]: ...
    def status(self, resource: Resource, actual: A) -> Document:
        """Read-only properties to show, from what was observed."""
        ...


@dataclass(slots=True)
class Admission:
    """A PUT or PATCH on its way in: `body` may be completed with defaults; refuse by raising ArmError.

    Nothing is stored yet, so a refusal changes nothing.
    """

    id: ResourceId
    body: Document
    existing: Resource | None
    principal: str
    reader: Reader
    private: Document = field(default_factory=dict)
    """Where write-only properties (secrets) go: taken out of `body`, merged into the resource's `private`."""
    managed_by: str | None = None
    correlation_id: str = ""
    """Joins what one request of a client led to."""


class Reader(Protocol):
    """Read access to what is stored."""

    async def get(self, resource_id: str) -> Resource | None: ...
    async def naming(self, id: str, *, type: str | None = None) -> list[Resource]:
        """Whose documents name a resource, or a part of it: who is in this subnet, who uses this address."""
        ...

    async def list(self, *, type: str | None = None, under: str | None = None) -> list[Resource]: ...


Watch = Callable[[Reader, Resource], Awaitable[Iterable[str]]]
"""Given a resource as it was before a change or as it is after it: ids of those it matters to, or of parts of them."""


async def named(reader: Reader, resource: Resource) -> Iterable[str]:
    """The usual Watch: whom its document names."""
    return ids_in(resource.body)


def ids_in(value: Any) -> Iterator[str]:
    """Resource ids, as they are written: keys and values of a document, at any depth."""
    if isinstance(value, str):
        if value[:15].lower() == "/subscriptions/":
            yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from ids_in(key)
            yield from ids_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from ids_in(item)


@dataclass(slots=True)
class Call:
    """A POST action on its way in."""

    id: ResourceId
    resource: Resource
    body: Document
    query: Mapping[str, str]
    principal: str
    ctx: Context
    operation: str = ""
    """Id of the operation, of an action that has one."""


@dataclass(frozen=True, slots=True)
class Action:
    """A POST action, `POST {id}/{name}`.

    `run` answers at once with its return value (200), unless `lro`: then 202 with an Operation whose result it
    returns. `change` instead edits the stored resource (start, stop): a new generation is reconciled, 202.
    """

    name: str
    permission: str
    """The RBAC action, `Microsoft.X/type/name/action`."""
    run: Callable[[Call], Awaitable[Any]] | None = None
    change: Callable[[Resource, Document], None] | None = None
    lro: bool = False
    results: str = ""
    """Where the result is found, `{id}/{results}/{operation}`, for clients that read the id out of `Location`
    (az aks command invoke: `commandResults`). The result needs a `properties.provisioningState`."""
    absent: bool = False
    """Changes nothing, and is answered where there is no such resource too: it is about one that might be made."""
    empty: int = 200
    """Status of an answer at once that has no body."""


@dataclass(frozen=True, slots=True)
class Inline:
    """A child type that is stored inside its parent's document, as Azure's are (`subnets`, `agentPools`).

    GET, PUT and DELETE of the child read and rewrite the parent's `properties[path]` list, in one transaction with
    the parent's generation; its operation is the parent's.
    """

    path: str
    flat: bool = False
    """Items hold their properties beside their name (agentPoolProfiles) rather than under `properties` (subnets)."""


async def _admit_as_is(admission: Admission) -> None:
    return None


def _links_nothing(body: Document) -> Mapping[str, str]:
    return {}


def _render_as_is(resource: Resource, document: Document) -> Document:
    return document


@dataclass(frozen=True, slots=True)
class ResourceType(Generic[A]):
    """The declaration of a type; everything `arm` and the reconcile loop need to know about it."""

    name: str
    """`Microsoft.Network/virtualNetworks/subnets`."""
    api_versions: Sequence[str]
    """Newest first."""
    reconciler: Reconciler[A] | None = None
    """None: the document is the resource, Succeeded as soon as it is stored."""
    admit: Callable[[Admission], Awaitable[None]] = _admit_as_is
    """Defaults and cross-field rules."""
    render: Callable[[Resource, Document], Document] = _render_as_is
    """Last touch to the document shown (removing what Azure never shows)."""
    schema: str | None = None
    """Name of the JSON Schema in `providers/schemas/` that the body must satisfy."""
    actions: Sequence[Action] = ()
    inline: Inline | None = None
    located: bool = True
    """Needs `location` (tracked resource)."""
    everywhere: bool = False
    """Its resources are in no region: their location is `global`."""
    wild: bool = False
    """Names may have a `*` (DNS record sets)."""
    tracked: bool = True
    """Shown by `/resources` lists."""
    synchronous: bool = False
    """A PUT is answered without an operation, being complete once stored (resource groups); DELETE still has one."""
    created: int = 201
    """Status of a PUT that creates (some SDKs accept only 200 or 202)."""
    updated: int = 200
    """Status of a PUT that changes what is there (SDKs of role definitions accept 201 alone)."""
    writable: bool = True
    """False: clients cannot PUT it; it is made by its owner (scale set instances)."""
    delete_status: int = 202
    patience: float = 0.0
    """Seconds that a PUT or DELETE waits for its operation at least: for types whose clients know no operations, and
    whose work takes milliseconds."""
    admit_delete: Callable[[Admission], Awaitable[None]] = _admit_as_is
    """May refuse a client's DELETE (still in use); not asked when an owner (resource group, cluster) goes."""
    watches: Mapping[str, Watch] = field(default_factory=dict)
    """By type: changes that resources of this one are looked at for, though nobody has asked them for anything (a NIC
    joins a load balancer's pool). Looks are not taken more often than costs a quarter of the time."""
    find: Callable[[ResourceId], Resource | None] | None = None
    """Instead of the store, for resources that are not stored (built-in role definitions)."""
    within: Callable[[str, str], list[Resource]] | None = None
    """`(scope, $filter)` → what a list at a scope shows, for extension types whose lists reach above it."""
    permissions: Mapping[str, str] = field(default_factory=dict)
    """RBAC action by verb where it is not `{name}/read|write|delete`."""
    moves: Moves = "unbuilt"
    linked: str = ""
    """RBAC action that a client needs on a resource of this type to name it in another's document; '' for none."""
    linking: Callable[[Document], Mapping[str, str]] = _links_nothing
    """Given a body as a client wrote it: RBAC actions that are needed besides, by id of what it names."""
    expanded: tuple[str, ...] = ()
    """Properties that clients are shown only when they ask for them (`$expand=instanceView`)."""

    @property
    def namespace(self) -> str:
        return self.name.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Provider:
    """A resource provider namespace: its types and what it may read of others."""

    namespace: str
    types: Sequence[ResourceType[Any]]
    depends_on: Sequence[str] = ()
    routes: Sequence[tuple[str, str, Callable[..., Awaitable[Any]]]] = ()
    """Further GETs and POSTs under `/subscriptions/S/providers/NS/…` (method, path pattern, handler), such as
    `locations/{location}/kubernetesVersions`."""
