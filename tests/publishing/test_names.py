import pytest

from ner.cli import InputError
from ner.publishing.names import check_names, is_hub_id
from tests.publishing.helpers import BASE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (BASE, True),
        ("gpt2", True),
        ("/mnt/disk/EXAONE", False),
        ("../EXAONE", False),
        ("models/of/EXAONE", False),
        ("data/sample", False),
    ],
)
def test_hub_id_differs_from_a_path(name, expected, tmp_path, monkeypatch):
    (tmp_path / "data" / "sample").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(name) is expected


def test_invalid_repository_name():
    with pytest.raises(InputError, match="me/EXAONE bad: not a valid repository name"):
        check_names("me/EXAONE bad", BASE, BASE)


def test_base_in_a_folder_needs_its_name_on_the_hub(stand_in):
    message = f"{stand_in}: the adapter names its base model by a path.*--base_model OWNER/NAME"
    with pytest.raises(InputError, match=message):
        check_names("me/EXAONE-lora", str(stand_in), str(stand_in))


@pytest.mark.parametrize("base", [BASE, "someone/renamed"])
@pytest.mark.parametrize("repo_id", ["me/klue-ner-lora", "klue-ner-lora", "me/my-EXAONE-lora"])
def test_name_that_breaks_the_license(repo_id, base, stand_in):
    message = "requires the name of a derived model to begin with EXAONE"
    with pytest.raises(InputError, match=message):
        check_names(repo_id, base, str(stand_in))


@pytest.mark.parametrize(
    ("repo_id", "base"),
    [("me/EXAONE-lora", BASE), ("EXAONE-lora", BASE), ("me/lora", "google/gemma-3-270m-it")],
)
def test_names_that_the_license_allows(repo_id, base):
    check_names(repo_id, base, base)
