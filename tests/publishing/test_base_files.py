import shutil

import pytest

from ner.cli import InputError
from ner.model.hub import Base
from ner.publishing.base_files import find_source, read_base_files
from tests.publishing.helpers import BASE


def test_files_come_from_the_base_that_the_adapter_names(tmp_path):
    assert find_source(BASE, BASE, "abc") == Base(BASE, "abc")
    assert find_source(BASE, str(tmp_path), None) == Base(str(tmp_path))
    assert find_source(BASE, str(tmp_path / "moved"), None) == Base(BASE)
    assert find_source(BASE, "someone/copy", "abc") == Base(BASE), "another repository's revision"


@pytest.mark.parametrize(("model_type", "exaone_names"), [("exaone", True), ("exaone4", False)])
def test_exaone_3_alone_has_names_of_its_own(tmp_path, model_type, exaone_names):
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    (tmp_path / "LICENSE").write_text("theirs")
    read = read_base_files(BASE, str(tmp_path), None)
    assert read == (exaone_names, {"LICENSE": b"theirs"})


def test_another_base_needs_no_files(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gemma3_text"}')
    assert read_base_files("google/gemma-3-270m-it", str(tmp_path), None) == (False, {})


def test_base_without_its_license(stand_in, tmp_path):
    shutil.copytree(stand_in, tmp_path / "base")
    (tmp_path / "base" / "LICENSE").unlink()
    with pytest.raises(InputError, match="base: has no LICENSE, which is needed to publish"):
        read_base_files(BASE, str(tmp_path / "base"), None)
