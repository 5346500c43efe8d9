"""Bodies that are not JSON: one text or bytes as they are, and forms."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from pytest_servebench.errors import ModelError, OptionError
from pytest_servebench.protocols.json_values import checked_array, in_json
from pytest_servebench.protocols.row_format import JSON_TYPE
from pytest_servebench.protocols.rows import only
from pytest_servebench.values.arrays import Array, Arrays

BINARY: Final = "application/octet-stream"


def check_content_type(content_type: str) -> None:
    """Check the setting ``content_type``.

    Raises:
        OptionError: it cannot be sent as a header.
    """
    if not re.fullmatch(r"[!-~][ -~]*", content_type):
        raise OptionError(f"content_type = {content_type!r}: give one such as image/jpeg.")


def raw_body(
    samples: Sequence[Arrays], body: str, content_type: str, unnamed: str
) -> tuple[str, bytes]:
    """Return the content type and the body of a request with one sample that is not in JSON.

    Args:
        samples: of the request.
        body: the setting, ``"bytes"`` or ``"multipart"``.
        content_type: of bytes.
        unnamed: the name of an input without a name, in a form.

    Raises:
        ModelError: there are several samples, or the input is neither text nor bytes.
    """
    sample = only(samples, f'body = "{body}"', 'body = "json"')
    return (content_type, as_bytes(sample)) if body == "bytes" else _form(sample, unnamed)


def _form(sample: Arrays, unnamed: str) -> tuple[str, bytes]:
    """Return the content type and the body of a form with a field for each input.

    Bytes are files, text is sent as it is, numbers as JSON; ``unnamed`` is the name of an input
    without a name.
    """
    inputs = sample if isinstance(sample, Mapping) else {unnamed: sample}
    parts = [_part(name, checked_array(value)) for name, value in inputs.items()]
    # The same for the same input, so that a later run is known to send the same requests.
    boundary = f"servebench-{hashlib.sha256(b''.join(parts)).hexdigest()[:32]}"
    line = f"--{boundary}".encode()
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"
    return f"multipart/form-data; boundary={boundary}", body


def as_bytes(sample: Arrays) -> bytes:
    """Return the one input, text or bytes, as it is.

    Raises:
        ModelError: there are several, or it is something else.
    """
    if isinstance(sample, Mapping):
        if len(sample) != 1:
            raise ModelError(
                f'body = "bytes" carries one input, and the model has {len(sample)}: '
                f'{", ".join(map(repr, sample))}; give body = "multipart" or "json".'
            )
        sample = next(iter(sample.values()))
    content = _text_or_bytes(checked_array(sample))
    if content is None:
        raise ModelError(
            'body = "bytes" carries one text or bytes, and the input is an array of '
            f'{np.asarray(sample).dtype}: give body = "json".'
        )
    return content.encode() if isinstance(content, str) else content


def _text_or_bytes(array: Array) -> str | bytes | None:
    value = array.item() if array.size == 1 and array.dtype.kind in "OSU" else None
    return value if isinstance(value, (str, bytes)) else None


def part_of(array: Array) -> tuple[str, bytes]:
    """Return the content type and the content of one input among several.

    Bytes and text are sent as they are, numbers as JSON.
    """
    content = None if array.ndim else _text_or_bytes(array)
    if isinstance(content, bytes):
        return BINARY, content
    if isinstance(content, str):
        return "text/plain; charset=utf-8", content.encode()
    return JSON_TYPE[1], in_json(array).encode("ascii")


def _part(name: str, array: Array) -> bytes:
    content_type, content = part_of(array)
    head = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    if content_type == BINARY:
        head += f'; filename="{_quoted(name)}"'
    return f"{head}\r\nContent-Type: {content_type}\r\n\r\n".encode() + content


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
