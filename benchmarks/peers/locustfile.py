"""Locust's users: each keeps to its share of the rate."""

from __future__ import annotations

import os
from pathlib import Path

from locust import (  # type: ignore[import-not-found,unused-ignore]
    FastHttpUser,
    constant_throughput,
    task,
)

BODY = Path(os.environ["BODY"]).read_text()
HEADERS = {"Content-Type": "application/json"}


class User(FastHttpUser):  # type: ignore[misc,unused-ignore]
    """One connection."""

    wait_time = constant_throughput(float(os.environ["USER_RATE"]))

    @task  # type: ignore[untyped-decorator,unused-ignore]
    def predict(self) -> None:
        """Post the body."""
        self.client.post("/predict", data=BODY, headers=HEADERS)
