"""The errors of the REST API: TensorFlow's status codes and the HTTP statuses they become."""

# In the order of TensorFlow's numbers.
HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}

CODE_NAMES = dict(enumerate(HTTP_STATUS, 1))
"""By TensorFlow's numbers, as its exceptions carry them."""


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        message: what the client reads. May hold surrogate escapes, for bytes that are not UTF-8.
        code: the name of the status code, which decides the HTTP status.
    """

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer."""
        return HTTP_STATUS[self.code]

    def __str__(self) -> str:
        """Return code and message, for the log."""
        return f"{self.code}: {self.message}"
