"""Every test of the command line has models and a folder of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def environment(workplace):
    """See ``workplace``."""
