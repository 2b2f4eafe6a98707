"""An adapter, trained and published."""

from pathlib import Path

import pytest

from tests.publishing.helpers import copy_adapter, write_published


@pytest.fixture
def folder(adapter, tmp_path) -> Path:
    """A trained adapter among private files."""
    return copy_adapter(adapter, tmp_path / "EXAONE-adapter")


@pytest.fixture
def published(folder, tmp_path) -> Path:
    """The adapter as it comes back from the hub."""
    return write_published(folder, tmp_path / "published")
