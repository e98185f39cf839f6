"""Fixtures of a toy corpus and model."""

from tests.toy_clip import *  # noqa: F403
