import pytest

from ner.cli import InputError
from ner.model.hub import Base, find_base
from ner.model.names import EXAONE


def test_local_folder_has_no_revision(stand_in):
    assert find_base(str(stand_in)) == Base(str(stand_in), None)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json"):
        find_base(str(tmp_path))


def test_no_network_and_nothing_cached():
    with pytest.raises(InputError, match=r"hub cannot be reached.*make rehearse"):
        find_base(EXAONE)
