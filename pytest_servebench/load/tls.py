"""TLS settings: which certificates to trust, the server name, and a client certificate."""

import ssl
from dataclasses import dataclass
from typing import Final

from pytest_servebench.errors import OptionError

CA_OPTION: Final = "--servebench-tls-ca"
CERT_OPTION: Final = "--servebench-tls-cert"
KEY_OPTION: Final = "--servebench-tls-key"


@dataclass(frozen=True)
class Tls:
    """TLS settings for a server.

    Attributes:
        verify: whether the server's certificate must be valid.
        ca_file: certificates (PEM) to trust instead of the system's.
        server_name: name for which the certificate must be valid, also sent to the server
            (SNI); ``None``: the host in the address.
        cert_file: client certificate (PEM); the file may hold the key too.
        key_file: its key (PEM), without a password.
    """

    verify: bool = True
    ca_file: str | None = None
    server_name: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return the SSL context for these settings.

        Raises:
            OptionError: a file cannot be used; the message names the option and the remedy.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise OptionError(
                f"{CA_OPTION}={self.ca_file}: no certificates can be read from it ({error}); "
                "give certificates in PEM format."
            ) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._show_certificate(context)
        return context

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        if self.cert_file is None:
            if self.key_file is not None:
                raise OptionError(
                    f"{KEY_OPTION}={self.key_file}: a key needs its certificate; give it with "
                    f"{CERT_OPTION}."
                )
            return
        given = f"{CERT_OPTION}={self.cert_file}"
        if self.key_file is not None:
            given += f", {KEY_OPTION}={self.key_file}"
        try:
            # Otherwise Python would ask for the key's password on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        except _PasswordError:
            raise OptionError(
                f"{given}: the key is protected by a password; give one without (openssl pkey "
                "-in KEY -out PLAIN_KEY)."
            ) from None
        except (OSError, ssl.SSLError) as error:
            raise OptionError(
                f"{given}: certificate and key cannot be used together ({error}); give files in "
                f"PEM format, with the key in the same file or in {KEY_OPTION}."
            ) from None


class _PasswordError(Exception):
    """A key needs a password."""


def _no_password() -> str:
    raise _PasswordError
