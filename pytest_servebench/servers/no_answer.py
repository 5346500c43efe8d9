"""Why a single request got no answer."""


class NoAnswerError(Exception):
    """There was no answer, or not in the request's protocol; the message says why.

    Attributes:
        final: whether a retry is pointless, as this cannot be the server's address.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def too_long(most: int) -> NoAnswerError:
    """Return the error for an answer of more than ``most`` bytes."""
    return NoAnswerError(
        f"its answer is longer than {most:,} bytes; --servebench-max-body=SIZE allows more",
        final=True,
    )
