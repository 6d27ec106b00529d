"""The way of a packet from a client to a pod: what `sorairo trace packet` shows.

The fabric says how it gets to a node; there the node's own kernel is asked what kube-proxy has told it to do.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from sorairo import kube_proxy, screened
from sorairo.drivers.kubernetes import KubernetesApi
from sorairo.drivers.protocols import DriverError, Links, Machines, Nic
from sorairo.drivers.traffic import Traffic
from sorairo.drivers.verdicts import Packet
from sorairo.engine.errors import ArmError
from sorairo.engine.ids import host_name, parse_id
from sorairo.engine.types import Document, Reader, Resource
from sorairo.providers.microsoft_containerservice.admission import CLUSTER
from sorairo.providers.microsoft_containerservice.observe import running_access
from sorairo.providers.microsoft_network.packet_fabric import Fabric, machine_of
from sorairo.providers.microsoft_network.packet_paths import Hop, Paths, arrivals, refusals

PORT_OF_CLIENT = 40000
"""A port such as a client's system gives out."""


class Packets:
    def __init__(self, links: Links, traffic: Traffic, nodes: Machines, api: KubernetesApi, host: str) -> None:
        """`host`: this machine's own address in the fabric."""
        self._paths = Paths(links, traffic)
        self._nodes = nodes
        self._api = api
        self._host = host

    async def trace(self, reader: Reader, client: str, address: str, port: int, protocol: str) -> Document:
        """`client`: `host`, an address, or `namespace/pod` of any cluster. Raises ArmError."""
        source = self._host if client in ("", "host") else await self._address(reader, client)
        packet = Packet(protocol, source, address, PORT_OF_CLIENT, port)

        async def arrive(fabric: Fabric, nic: Nic, packet: Packet) -> tuple[Hop, ...]:
            return await self._in_node(reader, fabric, nic, packet)

        async def leave(fabric: Fabric, nic: Nic, packet: Packet) -> Hop | None:
            """What a machine asks for meets its own node's kube-proxy before it leaves, and what policies say of it."""
            taken = await self._by_kube_proxy(reader, fabric, nic, packet)
            screen = await self._screen(reader, nic, "out", packet) if taken is None else None
            return screen if screen and screen.refused else taken

        start = await self._paths.follow(reader, packet, client or "host", leave, arrive)
        refused, arrived = refusals(start), arrivals(start)
        return {
            "from": source,
            "to": f"{address}:{port}",
            "protocol": protocol,
            "outcome": "mixed" if refused and arrived else "refused" if refused else "delivered",
            "refusedBy": list(dict.fromkeys(f"{each.kind} {each.name}: {each.text}" for each in refused)),
            "path": start.document(),
        }

    async def _address(self, reader: Reader, client: str) -> str:
        if "/" not in client:
            try:
                return str(IPv4Address(client))
            except ValueError:
                raise ArmError(
                    "InvalidParameter",
                    f"'{client}' is no client: 'host', an IPv4 address or NAMESPACE/POD is expected.",
                    target="from",
                ) from None
        namespace, _, name = client.partition("/")
        found = set()
        for cluster in await reader.list(type=CLUSTER):
            pod = await self._ask(cluster, f"/api/v1/namespaces/{namespace}/pods/{name}")
            if pod and (address := (pod.get("status") or {}).get("podIP")):
                found.add(str(address))
        if len(found) != 1:
            raise ArmError(
                "ResourceNotFound" if not found else "AmbiguousPod",
                f"There is no pod '{client}' that has an address."
                if not found
                else f"Several clusters have '{client}'.",
                status=404 if not found else 400,
            )
        return found.pop()

    # --- inside a node -------------------------------------------------------------------------------

    async def _in_node(self, reader: Reader, fabric: Fabric, nic: Nic, packet: Packet) -> tuple[Hop, ...]:
        if _routed(nic, packet.destination):
            return (await self._pod(reader, nic, packet),)
        hop = await self._by_kube_proxy(reader, fabric, nic, packet)
        return (hop,) if hop else ()

    async def _by_kube_proxy(self, reader: Reader, fabric: Fabric, nic: Nic, packet: Packet) -> Hop | None:
        """None: it is not for a Service."""
        to = packet.destination, packet.protocol, packet.destination_port or 0
        found = await kube_proxy.sent(self._nft(nic), packet.source, nic.address, *to)
        if found is None:
            return None
        hop = Hop("kube-proxy", found.service, found.refusal, refused=bool(found.refusal))
        if found.refusal:
            return hop
        ends = []
        for address, port in found.endpoints:
            if _routed(nic, address) or address == nic.address:
                ends.append(await self._pod(reader, nic, packet.to(address, port)))
            else:
                ends.append(await self._onward(reader, fabric, nic, packet.to(address, port), found.masqueraded))
        how = "as coming from the node" if found.masqueraded else "the client's address kept"
        count = len(found.endpoints)
        return replace(hop, text=f"to {'its endpoint' if count == 1 else f'one of {count} endpoints'}, {how}").then(
            *ends
        )

    async def _onward(self, reader: Reader, fabric: Fabric, nic: Nic, packet: Packet, masqueraded: bool) -> Hop:
        """To a pod of another node: once more through the security groups."""

        async def arrive(fabric: Fabric, nic: Nic, packet: Packet) -> tuple[Hop, ...]:
            return (await self._pod(reader, nic, packet),)

        screen = await self._screen(reader, nic, "out", packet)
        if screen and screen.refused:
            return screen
        # Policies see who asks; the node's address comes after them.
        seen = replace(packet, source=nic.address) if masqueraded else packet
        way = await self._paths.between(reader, fabric, seen, nic, arrive)
        return screen.then(way) if screen else way

    async def _pod(self, reader: Reader, nic: Nic, packet: Packet) -> Hop:
        """What a packet for one of the node's pods comes to, through the policies about both."""
        pod = await self._pod_at(reader, nic, packet)
        for way in ("in", "out"):
            if screen := await self._screen(reader, nic, way, packet):
                pod = screen if screen.refused else screen.then(pod)
        return pod

    async def _screen(self, reader: Reader, nic: Nic, way: screened.Way, packet: Packet) -> Hop | None:
        """None: no network policy is about the pod."""
        guest = packet.destination if way == "in" else packet.source
        if not _routed(nic, guest):
            return None
        found = await screened.screened(self._nft(nic), way, guest, packet)
        if found is None:
            return None
        cluster = await self._cluster(reader, nic)
        listed = await self._ask(cluster, "/apis/networking.k8s.io/v1/networkpolicies") if cluster else None
        objects = [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in (listed or {}).get("items", [])]
        names = {screened.chain_name(*each): "/".join(each) for each in objects}
        direction = "into" if way == "in" else "out of"
        if found.by:
            return Hop("network policy", names.get(found.by, found.by), f"lets it {direction} {guest}")
        those = ", ".join(names.get(each, each) for each in found.policies)
        return Hop("network policy", those, f"none has an opening for it {direction} {guest}", refused=True)

    def _nft(self, nic: Nic) -> kube_proxy.Nft:
        """Asks the kernel of a node."""
        machine = machine_of(nic)

        async def nft(words: str) -> str | None:
            if machine == nic.owner:  # No node: those are instances of scale sets.
                return None
            try:
                ran = await self._nodes.run(host_name(machine), ("nft", *words.split(" ")), timeout=20)
            except DriverError as e:
                raise ArmError("NodeNotRunning", f"A node on the way cannot be asked: {e}.", status=409) from e
            return ran.stdout.decode(errors="replace") if ran.exit_code == 0 else None

        return nft

    async def _pod_at(self, reader: Reader, nic: Nic, packet: Packet) -> Hop:
        address, port = packet.destination, packet.destination_port
        where = f"{address}:{port}" if port is not None else address
        cluster = await self._cluster(reader, nic)
        listed = await self._ask(cluster, "/api/v1/pods", fieldSelector=f"status.podIP={address}") if cluster else None
        for pod in (listed or {}).get("items", []):
            metadata = pod["metadata"]
            return Hop("pod", f"{metadata['namespace']}/{metadata['name']}", where)
        return Hop("nowhere", "dropped", f"no pod has {address}", refused=True)

    async def _cluster(self, reader: Reader, nic: Nic) -> Resource | None:
        group = (parse_id(nic.owner).resource_group or "").lower()
        for cluster in await reader.list(type=CLUSTER):
            if str(cluster.properties.get("nodeResourceGroup", "")).lower() == group:
                return cluster
        return None

    async def _ask(self, cluster: Resource, path: str, **query: str) -> Document | None:
        way = running_access(cluster)
        if way is None:
            return None
        try:
            return await self._api.get(way, path, **query)
        except DriverError:
            return None


def _routed(nic: Nic, address: str) -> bool:
    """Whether an address is one of a node's pods."""
    return any(IPv4Address(address) in IPv4Network(each) for each in nic.secondary)
