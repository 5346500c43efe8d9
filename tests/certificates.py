"""Certificates for servers of tests."""

import subprocess
from pathlib import Path


def self_signed(
    directory: Path,
    subject: str = "/CN=localhost/subjectAltName=DNS:localhost",
    *,
    expired: bool = False,
) -> Path:
    """Return a certificate that signs itself, with its key, in one file."""
    name, _, names = subject.partition("/subjectAltName=")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", name,
         *(("-addext", f"subjectAltName={names}") if names else ())],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    if expired:
        subprocess.run(
            ["openssl", "x509", "-in", "cert.pem", "-signkey", "key.pem", "-days", "0",
             "-out", "cert.pem"],
            cwd=directory, check=True, capture_output=True,
        )  # fmt: skip
    both = directory / "both.pem"
    both.write_text((directory / "key.pem").read_text() + (directory / "cert.pem").read_text())
    return both
