"""A cluster's certificates and keys: made once, kept with the cluster, given to each program as files.

https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_YEAR = datetime.timedelta(days=365)
CA_LASTS, LEAF_LASTS = 30 * _YEAR, 2 * _YEAR  # As AKS: https://learn.microsoft.com/azure/aks/certificate-rotation


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM of a certificate and its private key."""

    cert: str
    key: str


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    # PKCS#8 for RSA and EC alike; all of Kubernetes and etcd read it.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _builder(subject: x509.Name, lasting: datetime.timedelta) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=10))
        .not_valid_after(now + lasting)
    )


def _name(common_name: str, groups: tuple[str, ...] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def authority(common_name: str) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    cert = (
        _builder(name, CA_LASTS)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(cert.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def issue(
    ca: Pair,
    common_name: str,
    *,
    groups: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    server: bool = False,
    lasting: datetime.timedelta = LEAF_LASTS,
) -> Pair:
    """A leaf for a client, or (with `names`, DNS names and addresses) for a server that may also be a client."""
    ca_cert = x509.load_pem_x509_certificate(ca.cert.encode())
    ca_key = serialization.load_pem_private_key(ca.key.encode(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])]
    builder = (
        _builder(_name(common_name, groups), lasting)
        .issuer_name(ca_cert.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
    cert = builder.sign(ca_key, hashes.SHA256())
    return Pair(cert.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


_spare: list[Pair] = []


def prepare() -> None:
    """Have a signing key ready: finding one takes a tenth of a second of a busy CPU, which a new cluster need not wait
    for. Kept in memory only. Call it from a thread."""
    if not _spare:
        _spare.append(_signing_key())


def signing_key() -> Pair:
    """For service account tokens: RSA, since verifiers of AKS tokens expect RS256. `cert` is the public key."""
    try:
        return _spare.pop()
    except IndexError:
        return _signing_key()


def _signing_key() -> Pair:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Pair(public.decode(), _pem(key))


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=not sign,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


ADMINS = ("system:masters",)


def cluster_files(*, fqdn: str, addresses: tuple[str, ...], cluster_domain: str = "cluster.local") -> dict[str, str]:
    """Every file of a control plane's `pki/`, name → PEM. `addresses`: where the API server answers."""
    ca, front = authority("ca"), authority("front-proxy-ca")
    names = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{cluster_domain}",
        "localhost",
        fqdn,
        "127.0.0.1",
        *addresses,
    )
    pairs = {
        "ca": ca,
        "front-proxy-ca": front,
        "sa": signing_key(),
        "apiserver": issue(ca, "apiserver", names=names, server=True),
        "apiserver-kubelet-client": issue(ca, "kube-apiserver-kubelet-client", groups=("kubelet-api-admins",)),
        "front-proxy-client": issue(front, "aggregator"),
        "controller-manager": issue(ca, "system:kube-controller-manager"),
        "scheduler": issue(ca, "system:kube-scheduler"),
        "kube-proxy": issue(ca, "system:kube-proxy"),
        # AKS's local accounts: both are members of system:masters.
        "admin": issue(ca, "masterclient", groups=ADMINS),
        "sorairo": issue(ca, "aks-service", groups=ADMINS),
    }
    return {f"{n}{end}": t for n, p in pairs.items() for end, t in ((".crt", p.cert), (".key", p.key))}


def node(files: dict[str, str], hostname: str) -> Pair:
    """A kubelet's client certificate: https://kubernetes.io/docs/reference/access-authn-authz/node/"""
    ca = Pair(files["ca.crt"], files["ca.key"])
    return issue(ca, f"system:node:{hostname}", groups=("system:nodes",))
