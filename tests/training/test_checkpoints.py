import json
import shutil
from pathlib import Path

import pytest

from ner.cli import InputError
from ner.files import write_json
from ner.model.adapter import RECORD
from ner.training.checkpoints import (
    check_unused,
    count_steps,
    find_checkpoint,
    hash_files,
    is_complete,
    list_checkpoints,
)

CHECKPOINT_FILES = [
    *("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("trainer_state.json", "files.json"),
]


def write_checkpoint(folder: Path, steps: int) -> Path:
    """Write a complete checkpoint of one file."""
    checkpoint = folder / f"checkpoint-{steps}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(b"moments")
    (checkpoint / "files.json").write_text(hash_files(checkpoint))
    return checkpoint


def test_checkpoints_are_listed_from_the_last_to_the_first(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-x", "runs", "best"):
        (tmp_path / name).mkdir()
    checkpoints = list_checkpoints(tmp_path)
    assert [path.name for path in checkpoints] == ["checkpoint-10", "checkpoint-9"]
    assert [count_steps(path) for path in checkpoints] == [10, 9]
    assert list_checkpoints(tmp_path / "nothing") == []


def test_checkpoint_without_hashes_is_incomplete(tmp_path):
    checkpoint = write_checkpoint(tmp_path, 1)
    assert is_complete(checkpoint)
    (checkpoint / "more").touch()
    assert not is_complete(checkpoint)
    (checkpoint / "more").unlink()
    (checkpoint / "files.json").unlink()
    assert not is_complete(checkpoint)


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
@pytest.mark.parametrize("fault", ["missing", "cut in half", "empty"])
def test_damaged_checkpoint_is_noticed(six_steps, tmp_path, name, fault, capfd):
    """tests/test_train.py shows that the run continues from the one before."""
    results = tmp_path / "results"
    shutil.copytree(six_steps / "results", results)
    path = results / "checkpoint-6" / name
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if fault == "cut in half" else b"")
    run = json.loads((results / "training.json").read_text(encoding="utf-8"))
    checkpoint = find_checkpoint(results, run)
    assert checkpoint.name == "checkpoint-5"
    printed = capfd.readouterr().out
    assert "checkpoint-6 is incomplete; trying the one before" in printed
    assert f"resuming from {checkpoint}" in printed


def test_folder_of_an_earlier_run_is_not_used_for_a_new_one(tmp_path):
    check_unused(tmp_path)
    write_checkpoint(tmp_path, 7)
    with pytest.raises(InputError, match=r"holds checkpoint-7 of an earlier run\. To continue it"):
        check_unused(tmp_path)


def test_run_is_not_resumed_with_other_settings(run, tmp_path):
    write_json(tmp_path / RECORD, run)
    checkpoint = write_checkpoint(tmp_path, 7)
    assert find_checkpoint(tmp_path, run) == checkpoint
    changed = run | {"base": {"name": "alice/base", "revision": "beef"}}
    with pytest.raises(
        InputError, match=r"other settings.*\n  base.revision: was c0ffee, now beef"
    ):
        find_checkpoint(tmp_path, changed)
    (tmp_path / "training.json").unlink()
    with pytest.raises(InputError, match=r"no training\.json, which describes their run"):
        find_checkpoint(tmp_path, run)


def test_nothing_to_resume(run, tmp_path, capfd):
    assert find_checkpoint(tmp_path, run) is None
    write_json(tmp_path / RECORD, run)
    assert find_checkpoint(tmp_path, run) is None
    assert capfd.readouterr().out.count("no checkpoint to resume from") == 2
