"""Our certificate authority and the server's certificate.

The authority may sign only names and addresses that are this machine's own (name constraints, RFC 5280 4.2.1.10), so
that whoever trusts it trusts it with nothing else.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sorairo.files import write_private
from sorairo.state import State

DOMAIN = "sorairo.internal"
NAMES = (
    "localhost",
    DOMAIN,
    f"*.{DOMAIN}",
    f"*.file.core.{DOMAIN}",
    f"*.blob.core.{DOMAIN}",
    f"*.azurecr.{DOMAIN}",
)
ADDRESSES = ("127.0.0.1", "::1", "168.63.129.16")
_OWN = ("127.0.0.0/8", "::1/128", "198.18.0.0/15", "168.63.129.16/32", "169.254.169.254/32")
CA_DAYS, SERVER_DAYS, RENEW_DAYS = 3650, 397, 30
PUBLIC_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def ensure_certificates(state: State) -> None:
    """Make what is missing or about to end. The authority is kept: clients have been told to trust it."""
    state.tls.mkdir(exist_ok=True)
    ca_key_file = state.tls / "ca.key"
    if _ending(state.ca):
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(ca_key_file, _pem(key))
        _write(state.ca, _authority(key))
        state.server_certificate.unlink(missing_ok=True)
    if _ending(state.server_certificate) or not state.server_key.exists() or not _names_all(state.server_certificate):
        ca = x509.load_pem_x509_certificate(state.ca.read_bytes())
        ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(state.server_key, _pem(key))
        _write(state.server_certificate, _server(key, ca, ca_key) + state.ca.read_bytes())


def write_bundle(state: State) -> None:
    """The public authorities this machine trusts, with ours added.

    A file with ours alone would break everything else in the same shell, pip first.
    """
    public = b""
    for candidate in (*_told(state), *PUBLIC_BUNDLES):
        with contextlib.suppress(OSError):
            public = Path(candidate).read_bytes()
            break
    else:
        with contextlib.suppress(ImportError):
            import certifi

            public = Path(certifi.where()).read_bytes()
    content = public.rstrip(b"\n") + b"\n" + state.ca.read_bytes()
    if not state.bundle.exists() or state.bundle.read_bytes() != content:
        _write(state.bundle, content)


def _told(state: State) -> list[str]:
    """A bundle the user's environment already names (a company's proxy), unless it is ours."""
    named = [os.environ.get(n, "") for n in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    return [n for n in named if n and Path(n).absolute() != state.bundle and Path(n).is_file()]


def _ending(certificate: Path) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return True
    return found.not_valid_after_utc < datetime.now(UTC) + timedelta(days=RENEW_DAYS)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sorairo"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _names_all(file: Path) -> bool:
    """Whether a server's certificate has all of `ADDRESSES`: an earlier sorairo's may lack some."""
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(a) for a in names.get_values_for_type(x509.IPAddress)} >= set(ADDRESSES)


def _builder(subject: x509.Name, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The name carries a part of the key's fingerprint: two installations' authorities in one bundle stay two.
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"sorairo on this machine {identifier.digest.hex()[:8]}")
    permitted: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(DOMAIN)]
    permitted += [x509.IPAddress(ipaddress.ip_network(n)) for n in _OWN]
    certificate = (
        _builder(name, name, CA_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _server(key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> bytes:
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(a)) for a in ADDRESSES]
    certificate = (
        _builder(_name("sorairo"), ca.subject, SERVER_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
