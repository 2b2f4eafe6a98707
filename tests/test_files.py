import tempfile
from pathlib import Path

import pytest

from ner.cli import InputError
from ner.files import (
    check_replaceable,
    check_writable,
    free_bytes,
    read_json,
    replace_folder,
    write_atomically,
)


def test_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "chats"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new\udc00")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("chats", "old")]


def test_file_is_replaced_rather_than_changed(tmp_path):
    path = tmp_path / "chats"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_file_is_written_with_its_folders_and_newlines_as_given(tmp_path):
    path = tmp_path / "new" / "folder" / "chats"
    write_atomically(path, "봄\n")
    assert path.read_bytes() == "봄\n".encode()


def test_json_is_read_if_it_exists(tmp_path):
    path = tmp_path / "record.json"
    assert read_json(path) is None
    path.write_text('{"계절": "봄"}', encoding="utf-8")
    assert read_json(path) == {"계절": "봄"}


def test_free_space_of_a_folder_to_come(tmp_path):
    assert free_bytes(tmp_path / "new" / "folder") == pytest.approx(free_bytes(tmp_path), rel=0.1)


def test_file_needs_a_place_that_can_be_written(tmp_path):
    check_writable(tmp_path / "new" / "train.jsonl")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"is a folder\. Choose a file"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="cannot be written in /proc"):
        check_writable(Path("/proc/train.jsonl"))


def test_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "adapter"
    for content in ("old", "new"):
        with replace_folder(folder, "marker") as part:
            (part / "marker").write_text(content)
            (part / content).touch()
    assert sorted(path.name for path in folder.iterdir()) == ["marker", "new"]
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, "marker") as part:
        (part / "marker").write_text("half")
        raise KeyboardInterrupt
    assert (folder / "marker").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_folder_behind_a_link_is_replaced(tmp_path):
    """Also if the link goes to another disk. The link stays."""
    link = tmp_path / "adapter"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:
        target = Path(disk) / "adapter"
        target.mkdir()
        link.symlink_to(target)
        with replace_folder(link, "marker") as part:
            (part / "marker").touch()
        assert link.is_symlink()
        assert (target / "marker").is_file()
    link.unlink()
    link.symlink_to("/proc")
    with pytest.raises(InputError, match="is a mount point"):
        check_replaceable(link, "marker")


def test_folder_of_something_else_is_not_replaced(tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        check_replaceable(thesis, "adapter_config.json")
    with pytest.raises(InputError, match="is a file"):
        check_replaceable(thesis / "chapter1.txt", "adapter_config.json")
    with pytest.raises(InputError, match="cannot be written"):
        check_replaceable(Path("/proc/adapter"), "adapter_config.json")
    with pytest.raises(InputError, match=r"/proc: is a mount point, .* Choose a folder in it"):
        check_replaceable(Path("/proc"), "adapter_config.json")


def test_interrupted_replacement_puts_the_old_folder_back(tmp_path, monkeypatch):
    folder, rename = tmp_path / "adapter", Path.rename
    with replace_folder(folder, "marker") as part:
        (part / "marker").write_text("old")

    def stop_at_the_second(path, target):
        if path.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, "marker") as part:
        (part / "marker").write_text("new")
    contents = [(path.name, (path / "marker").read_text()) for path in tmp_path.iterdir()]
    assert contents == [("adapter", "old")]


def test_folder_of_a_killed_replacement_is_recovered(tmp_path):
    folder = tmp_path / "adapter"
    # A process that is killed between the two renamings leaves only this folder.
    (tmp_path / ".adapter.old").mkdir()
    (tmp_path / ".adapter.old" / "marker").write_text("old")
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, "marker"):
        raise KeyboardInterrupt
    assert (folder / "marker").read_text() == "old"
