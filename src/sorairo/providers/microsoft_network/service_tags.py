"""Service tags: names for groups of addresses in security rules and routes.

https://learn.microsoft.com/azure/virtual-network/service-tags-overview
Azure's services are answered here by the fabric itself, at the first addresses of the public range; so are all tags
that stand for one of them. The three that are about networks mean what they mean on Azure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

HOST = "168.63.129.16/32"
"""Where Azure's probes come from, and its DNS answers."""
OURS = 16
"""So many addresses of the public range are the fabric's own."""

_SERVICES = """
ActionGroup ApiManagement AppConfiguration AppService AppServiceManagement AutonomousDevelopmentPlatform
AzureActiveDirectory AzureActiveDirectoryDomainServices AzureAdvancedThreatProtection AzureArcInfrastructure
AzureAttestation AzureBackup AzureBotService AzureCloud AzureCognitiveSearch AzureConnectors
AzureContainerAppsService AzureContainerRegistry AzureCosmosDB AzureDatabricks AzureDataExplorerManagement
AzureDeviceUpdate AzureDevOps AzureDigitalTwins AzureEventGrid AzureFrontDoor.Frontend AzureFrontDoor.Backend
AzureFrontDoor.FirstParty AzureHealthcareAPIs AzureInformationProtection AzureIoTHub AzureKeyVault
AzureKubernetesService AzureMachineLearning AzureMachineLearningInference AzureManagedGrafana AzureMonitor
AzureMonitorForSAP AzureOpenDatasets AzurePlatformDNS AzurePlatformIMDS AzurePlatformLKM AzureResourceManager
AzureSecurityCenter AzureSentinel AzureSignalR AzureSiteRecovery AzureSphere AzureSpringCloud AzureStack
AzureTrafficManager AzureUpdateDelivery AzureWebPubSub BatchNodeManagement ChaosStudio CognitiveServicesFrontend
CognitiveServicesManagement ContainerAppsManagement DataFactory DataFactoryManagement Dynamics365ForMarketingEmail
EOPExternalPublishedIPs EventHub GatewayManager Grafana GuestAndHybridManagement HDInsight LogicApps
LogicAppsManagement MicrosoftAzureFluidRelay MicrosoftCloudAppSecurity MicrosoftContainerRegistry
MicrosoftDefenderForEndpoint OneDsCollector PowerBI PowerPlatformInfra PowerPlatformPlex PowerQueryOnline Scuba
SerialConsole ServiceBus ServiceFabric Sql SqlManagement Storage StorageMover StorageSyncService TrafficManager
VideoIndexer WindowsAdminCenter WindowsVirtualDesktop
"""
_KNOWN = {name.lower() for name in _SERVICES.split()}
_REGIONAL = {name for name in _KNOWN if "." not in name}
_ALIASES = {"virtual_network": "virtualnetwork", "azure_loadbalancer": "azureloadbalancer"}
"""Of the first api-versions."""


@dataclass(frozen=True, slots=True)
class Space:
    """What tags mean in one virtual network."""

    virtual: tuple[str, ...]
    """VirtualNetwork: its prefixes and those of networks it is peered with."""
    services: str
    """The fabric's own addresses, as a CIDR."""


def is_tag(text: str) -> bool:
    name = _ALIASES.get(text.lower(), text.lower())
    if name in ("virtualnetwork", "internet", "azureloadbalancer") or name in _KNOWN:
        return True
    service, _, region = name.rpartition(".")
    return service in _REGIONAL and region.isalnum()


def addresses(text: str, space: Space) -> tuple[str, ...]:
    """What a tag stands for, as CIDRs. ValueError: no such tag."""
    name = _ALIASES.get(text.lower(), text.lower())
    if name == "virtualnetwork":
        return (*space.virtual, HOST)
    if name == "internet":
        return complement((*space.virtual, HOST))
    if name == "azureloadbalancer":
        return (HOST,)
    if not is_tag(text):
        raise ValueError(text)
    return (space.services,)


def complement(prefixes: Iterable[str]) -> tuple[str, ...]:
    """All IPv4 addresses but these."""
    left = [ipaddress.IPv4Network("0.0.0.0/0")]
    for prefix in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, prefixes)):
        left = [part for each in left for part in _without(each, prefix)]
    return tuple(str(each) for each in sorted(left))


def _without(whole: ipaddress.IPv4Network, part: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
    if whole.subnet_of(part):
        return []
    return list(whole.address_exclude(part)) if part.subnet_of(whole) else [whole]
