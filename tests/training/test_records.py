import json
import shutil
from pathlib import Path

import pytest

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.tensors import hash_adapter
from ner.training.records import (
    PACKAGES,
    check_unused,
    count_steps,
    describe_run,
    find_checkpoint,
    find_run_base,
    flatten_run,
    hash_files,
    is_complete,
    list_checkpoints,
    write_record,
)
from tests.training.helpers import make_settings

CHECKPOINT_FILES = [
    *("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("trainer_state.json", "files.json"),
]


@pytest.fixture(scope="module")
def run(chats_file) -> dict:
    """The description of a run with default settings."""
    return describe_run(make_settings("--data", str(chats_file)), Base("alice/base", "c0ffee"))


def write_checkpoint(folder: Path, steps: int) -> Path:
    """Write a complete checkpoint of one file."""
    checkpoint = folder / f"checkpoint-{steps}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(b"moments")
    (checkpoint / "files.json").write_text(hash_files(checkpoint))
    return checkpoint


def test_run_records_everything_that_decides_its_result(run, chats_file):
    source = json.loads(chats_file.with_name("train.source.json").read_text(encoding="utf-8"))
    settings = make_settings("--data", str(chats_file))
    assert run["base"] == {"name": "alice/base", "revision": "c0ffee"}
    assert run["data"] == {"sha256": source["sha256"], "source": source}
    assert run["settings"] == settings.recipe() | {"processes": 1}
    assert run["versions"].keys() == {"python", *PACKAGES}
    assert "adapter" not in run


def test_further_training_records_the_adapter_it_began_with(adapter, chats_file):
    settings = make_settings("--data", str(chats_file), "--adapter", str(adapter))
    run = describe_run(settings, Base("alice/base"), adapter)
    assert run["adapter"] == {"source": str(adapter), "sha256": hash_adapter(adapter)}


def test_resumed_run_may_change_how_it_computes_the_same_numbers(chats_file):
    def flatten(*flags: str) -> dict:
        settings = make_settings("--data", str(chats_file), *flags)
        return flatten_run(describe_run(settings, Base("alice/base")))

    others = [
        *("--batch_size", "2", "--gradient_accumulation", "8", "--activation_checkpointing"),
        *("--checkpoint_every", "2", "--save_steps", "3", "--output_dir", "elsewhere"),
    ]
    assert flatten(*others) == flatten()
    assert flatten("--learning_rate", "1e-3") != flatten()
    assert flatten("--batch_size", "8", "--gradient_accumulation", "1") != flatten()
    assert flatten("--no-pack") != flatten()
    assert flatten()["settings.chats a step"] == 16


def test_fingerprints_decide_and_not_where_data_and_adapter_came_from(run):
    adapter = {"source": "alice/adapter", "sha256": "ab12"}
    moved = {
        "data": run["data"] | {"source": None},
        "adapter": adapter | {"source": "/mnt/adapter"},
    }
    fields = flatten_run(run | {"adapter": adapter})
    assert flatten_run(run | moved) == fields
    assert fields["adapter.sha256"] == "ab12"
    assert fields["data.sha256"] == run["data"]["sha256"]


def test_resumed_run_keeps_the_commit_of_its_base(stand_in, tmp_path, monkeypatch):
    """Its flag --revision would overrule the record, and a new run does not read it."""
    monkeypatch.setattr("ner.training.records.find_base", Base)
    (tmp_path / "training.json").write_text('{"base": {"revision": "c0ffee"}}')
    command = ["--model", "alice/base", "--checkpoint_dir", str(tmp_path)]
    settings = make_settings(*command)
    assert find_run_base(settings, resume=True) == Base("alice/base", "c0ffee")
    assert find_run_base(settings, resume=False) == Base("alice/base", None)
    settings = make_settings(*command, "--revision", "beef")
    assert find_run_base(settings, resume=True) == Base("alice/base", "beef")


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
    write_record(tmp_path, run)
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
    write_record(tmp_path, run)
    assert find_checkpoint(tmp_path, run) is None
    assert capfd.readouterr().out.count("no checkpoint to resume from") == 2
