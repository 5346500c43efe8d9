"""The errors that users of the plugin may see.

Each message names the option or file, the value, and the remedy.
"""

from pytest_servebench.text.safe import harmless


class _HarmlessError(Exception):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*(harmless(one) if isinstance(one, str) else one for one in arguments))


class ServebenchError(_HarmlessError):
    """Base class of every error that this plugin raises on purpose.

    Its text may quote a server, so secrets and terminal control sequences are removed.
    """


class ServebenchWarning(_HarmlessError, UserWarning):  # noqa: N818 - a warning
    """Base class of every warning of this plugin; its text is sanitized like that of errors."""


class OptionError(ServebenchError):
    """An option, ini key or argument has a value that cannot be used."""


class ModelError(ServebenchError):
    """The model to serve could not be loaded, built or packaged."""


class ServerError(ServebenchError):
    """A model server misbehaved."""


class ServerUnavailableError(ServerError):
    """A server kind cannot run here; the message says what is missing and how to get it."""


class ServerStartError(ServerError):
    """A server did not become ready; the message ends with the tail of its log."""


class ServerDiedError(ServerError):
    """A server exited under load; the message ends with the tail of its log."""


class BadResponseError(ServebenchError):
    """A server's answer is not a prediction of the model."""


class InvalidMeasurementError(ServebenchError):
    """The load generator failed, so the figures say nothing about the server."""


class SLOSyntaxError(OptionError):
    """An SLO or a gate cannot be read; the message points at the character."""


class SavedRunError(ServebenchError):
    """A saved run is missing, cannot be read, or is not what it should be."""


class NoSuchRunError(SavedRunError):
    """There is no saved run of this name."""


def described(error: BaseException) -> str:
    """Return an error's type and text; only its type if ``str()`` fails."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        return name
    return f"{name}: {text}" if text else name
