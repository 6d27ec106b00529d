"""Our authority: kept, trusted for this machine's names, and for nothing else."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification

from sorairo import __version__
from sorairo.state import State
from sorairo.tls import ensure_certificates, write_bundle


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.make()
    ensure_certificates(state)
    return state


def test_certificates_are_kept(state: State) -> None:
    before = state.ca.read_bytes(), state.server_certificate.read_bytes()
    ensure_certificates(state)
    assert (state.ca.read_bytes(), state.server_certificate.read_bytes()) == before


def test_a_server_certificate_about_to_end_is_renewed_under_the_same_authority(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, before = state.ca.read_bytes(), state.server_certificate.read_bytes()
    monkeypatch.setattr("sorairo.tls.RENEW_DAYS", 398)
    ensure_certificates(state)
    assert state.ca.read_bytes() == authority
    assert state.server_certificate.read_bytes() != before


def test_a_strict_client_accepts_the_chain(state: State) -> None:
    write_bundle(state)
    server, *_ = x509.load_pem_x509_certificates(state.server_certificate.read_bytes())
    authority = x509.load_pem_x509_certificate(state.ca.read_bytes())
    context = ssl.create_default_context(cafile=str(state.bundle))
    assert len(context.get_ca_certs()) > 1
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "*.sorairo.internal" in names.get_values_for_type(x509.DNSName)
    assert server.issuer == authority.subject


def test_the_authority_cannot_speak_for_the_rest_of_the_internet(state: State) -> None:
    authority = x509.load_pem_x509_certificate(state.ca.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    key = serialization.load_pem_private_key((state.tls / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    stolen = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(stolen.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.com")]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([authority]))
        .build_server_verifier(x509.DNSName("example.com"))
    )
    with pytest.raises(verification.VerificationError):
        verifier.verify(forged, [])


def test_the_version_is_said_once() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{__version__}"' in pyproject.read_text()
