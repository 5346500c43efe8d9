"""How many examples Hypothesis tries."""

from typing import Any

from hypothesis import settings


def examples(number: int, **further: Any) -> settings:
    """Return settings for a number of examples, a quarter with ``--hypothesis-profile=quick``."""
    profile = settings.default
    assert profile is not None
    return settings(max_examples=max(5, number * profile.max_examples // 100), **further)
