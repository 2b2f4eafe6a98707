import collections
import os
import shutil
from dataclasses import replace

import pytest
import torch

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.loading import load_config
from ner.training.machine import check_compiler, check_disks, check_machine
from ner.training.memory import measure_lengths
from ner.training.run import TrainingSettings
from ner.training.trainer import build_lora
from tests.training.helpers import SAVE_EVERY_STEP, build_command, encode_data, make_settings

Usage = collections.namedtuple("Usage", "total used free")


def set_free_bytes(monkeypatch, size: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9e9, 9e9, size))


@pytest.fixture
def settings(stand_in, chats_file, tmp_path) -> TrainingSettings:
    """A run of micro-batches of four chats in `tmp_path`."""
    return make_settings(*build_command(stand_in, chats_file, tmp_path, *SAVE_EVERY_STEP))


def check(settings: TrainingSettings, **fields) -> None:
    """Run `check_machine` as train.py does. `fields` change the base's configuration."""
    base = Base(settings.model)
    config = load_config(base)
    for name, value in fields.items():
        setattr(config, name, value)
    lengths = measure_lengths(encode_data(settings)[0])
    check_machine(settings, config, build_lora(settings, base), lengths)


def test_disk_that_is_too_small(settings, six_steps, tmp_path, monkeypatch):
    """Ten adapters of 0.5 MB: three checkpoints of three each, and the final adapter."""
    set_free_bytes(monkeypatch, 4e6)
    message = r"results: the run writes up to 5\.2 MB, but the disk has room for 4\.0 MB"
    with pytest.raises(InputError, match=message):
        check(settings)
    set_free_bytes(monkeypatch, 6e6)
    check(settings)
    # Two of the three checkpoints are there already.
    shutil.copytree(six_steps / "results", tmp_path / "results")
    set_free_bytes(monkeypatch, 4e6)
    check(settings)


def test_best_adapter_takes_room_twice(settings, monkeypatch):
    set_free_bytes(monkeypatch, 11e6)
    check_disks(settings, 1e6)
    with pytest.raises(InputError, match=r"writes up to 12\.0 MB"):
        check_disks(replace(settings, validation=3), 1e6)


def test_model_that_cannot_read_packed_chats(settings):
    with pytest.raises(InputError, match="its attention window is 8 tokens"):
        check(settings, sliding_window=8)
    check(replace(settings, pack=False), sliding_window=8)


def test_card_without_native_bfloat16(settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(InputError, match="Tesla T4 has no native bfloat16"):
        check(settings)


def test_large_model_without_a_gpu(settings, monkeypatch, capsys):
    """It may train, slowly, if its memory with these settings fits."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 6e5, "SC_PAGE_SIZE": 4e3}.__getitem__)
    billion = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 20}
    with pytest.raises(InputError, match=r"1\.0 billion.*take about 3 GB.*this machine has 2 GB"):
        check(settings, **billion)
    assert "note" not in capsys.readouterr().out
    check(replace(settings, activation_checkpointing=True), **billion)
    assert "about 2 GB of this machine's 2 GB of memory and is slow" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_model_that_cannot_run_without_weights_is_not_checked(settings, monkeypatch, capsys, error):
    def fail(*_):
        raise error("no such operator")

    monkeypatch.setattr("ner.training.machine.measure_token_cost", fail)
    set_free_bytes(monkeypatch, 0)
    check(settings)
    printed = capsys.readouterr().out
    assert "memory and disk are not checked" in printed
    assert "(no such operator)" in printed


@pytest.mark.parametrize("pack", [True, False])
def test_several_processes_share_a_step_and_hold_gradients_twice(settings, monkeypatch, pack):
    """Each of four processes takes 4 of 16 chats, and sums gradients in buckets of their size."""
    sizes = []
    monkeypatch.setattr(
        "ner.training.machine.check_device", lambda name, model, precision, size: sizes.append(size)
    )
    settings = replace(settings, pack=pack)
    check(replace(settings, batch_size=4))
    process = collections.namedtuple("Process", "num_processes")(4)
    monkeypatch.setattr("ner.training.machine.get_process", lambda: process)
    check(replace(settings, batch_size=16))
    values = 2 * 32 * (2 * (128 + 128) + 2 * (128 + 64) + 3 * (128 + 256))
    assert sizes[1] - sizes[0] == pytest.approx(4 * values)


def test_compiler_is_looked_for_before_any_model_loads(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    check_compiler()  # a CPU builds nothing

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CC", "cc")
    with pytest.raises(InputError, match=r"Python\.h not found.*apt-get install python3.*-dev"):
        check_compiler()
    (tmp_path / "Python.h").touch()
    check_compiler()
    monkeypatch.delenv("CC")
    with pytest.raises(InputError, match=r"No C compiler found.*apt-get install gcc"):
        check_compiler()
