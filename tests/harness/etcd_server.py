# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A web server that answers as a test tells it, with TLS if wanted; and the certificates for it."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = t.Callable[["Asked"], "tuple[int, bytes]"]


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    body: dict[str, t.Any]
    token: str | None
    peer: str = ""


@dataclass
class Scripted:
    """A server. `asked` is what came, `answer` makes the status and the body, or raises to break off."""

    url: str
    answer: Answer
    asked: list[Asked] = field(default_factory=list)


def words(answer: t.Mapping[str, t.Any], status: int = 200) -> Answer:
    """The same answer always."""
    return lambda _asked: (status, json.dumps(answer).encode())


@contextlib.contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> t.Iterator[Scripted]:
    """A server that is up."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, body, self.headers.get("Authorization"), self._peer())
            scripted.asked.append(asked)
            status, text = scripted.answer(asked)
            with contextlib.suppress(OSError):  # who asked may be gone
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", text.decode())
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST

        def _peer(self) -> str:
            if not isinstance(self.connection, ssl.SSLSocket):
                return ""
            found: t.Any = self.connection.getpeercert() or {}
            return str(dict(part[0] for part in found.get("subject", ())).get("commonName", ""))

        def log_message(self, format: str, *args: t.Any) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: t.Any, client_address: t.Any) -> None:
            """Handshakes that fail are what some tests want."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "https" if context else "http"
        scripted = Scripted(f"{scheme}://127.0.0.1:{server.server_address[1]}", answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield scripted
        finally:
            server.shutdown()
            thread.join()


#: what an authority's key is for; Python 3.13 accepts none that does not say so, nor one without key identifiers
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.cert = folder / "ca.pem"
        self.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def issue(self, name: str, address: str, passphrase: bytes | None = None, named: bool = True) -> tuple[str, str]:
        """Files of a certificate for an address and of its key; one that is not named has no common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if named else [])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        cert = (
            self._builder(subject, key)
            .add_extension(names, critical=not named)
            .add_extension(signer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
        files[1].chmod(0o600)
        return str(files[0]), str(files[1])

    def context(self, name: str = "server", address: str = "127.0.0.1", demand: bool = False) -> ssl.SSLContext:
        """What a server needs; `demand` a certificate of its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, address))
        if demand:
            context.load_verify_locations(self.cert)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
