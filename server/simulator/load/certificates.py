"""A throw-away authority and a certificate of its for 127.0.0.1, made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
DAYS = "1"
OPENSSL_S = 30.0


class NoCertificate(Exception):
    """openssl is not there, or refused."""


@dataclass(frozen=True, slots=True)
class Certificates:
    ca: Path
    certificate: Path
    key: Path


def make(folder: Path) -> Certificates:
    """All three as PEM files in `folder`. Strict verifiers want the key usages. Raises NoCertificate."""
    (folder / "openssl.cnf").write_text(_CONFIG)
    _req(folder, "ca", "/CN=kav bench authority", "-x509", "-days", DAYS, "-extensions", "ca")
    _req(folder, "server", "/CN=127.0.0.1")
    _openssl(
        folder,
        *("x509", "-req", "-in", "server.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1"),
        *("-days", DAYS, "-extfile", "openssl.cnf", "-extensions", "server", "-out", "signed.pem"),
    )
    return Certificates(folder / "ca.pem", folder / "signed.pem", folder / "server.key")


def _req(folder: Path, name: str, subject: str, *more: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
    _openssl(
        folder, "req", "-config", "openssl.cnf", "-new", *key, "-subj", subject, *more, "-out", f"{name}.pem"
    )


def _openssl(folder: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(
            ["openssl", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=OPENSSL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCertificate(f"openssl: {error}") from error
    if done.returncode:
        raise NoCertificate(f"openssl {arguments[0]}: {done.stderr.strip()[-200:]}")
