import collections
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from huggingface_hub import constants

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.loading import build_empty, load_config
from ner.model.process import get_process
from ner.training.machine import check_compiler, check_disks, check_machine, choose_optimizer
from ner.training.memory import estimate_memory, measure_lengths, measure_token_cost
from ner.training.run import TrainingSettings
from ner.training.trainer import build_lora
from tests.training.helpers import SAVE_EVERY_STEP, build_command, encode_data, make_settings

OTHER_DISK = Path("/dev/shm")
Usage = collections.namedtuple("Usage", "total used free")


def set_free_bytes(monkeypatch, size: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9e9, 9e9, size))


@pytest.fixture
def settings(stand_in, chats_file, tmp_path) -> TrainingSettings:
    """A run of micro-batches of four chats in `tmp_path`."""
    return make_settings(*build_command(stand_in, chats_file, tmp_path, *SAVE_EVERY_STEP))


def check(settings: TrainingSettings, **fields) -> float:
    """Run `check_machine` as train.py does. `fields` change the base's configuration."""
    base = Base(settings.model)
    config = load_config(base)
    for name, value in fields.items():
        setattr(config, name, value)
    lengths = measure_lengths(encode_data(settings)[0])
    return check_machine(settings, config, build_lora(settings, base), lengths, download=0)


def test_disk_that_is_too_small(settings, six_steps, tmp_path, monkeypatch):
    """Ten adapters of 0.5 MB: three checkpoints of three each, and the final adapter."""
    set_free_bytes(monkeypatch, 4e6)
    message = r"writes up to 5\.8 MB to one disk, which has room for 4\.0 MB: 5\.2 MB in .*results"
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
    check_disks(settings, 1e6, download=0)
    with pytest.raises(InputError, match=r"writes up to 13\.0 MB"):
        check_disks(replace(settings, validation=3), 1e6, download=0)


def test_download_and_checkpoints_share_a_disk(settings, tmp_path, monkeypatch):
    """Each alone fits."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    set_free_bytes(monkeypatch, 15e6)
    check_disks(settings, 1e6, download=0)
    check_disks(settings, 1e3, download=10_000_000)
    with pytest.raises(InputError, match=r"to 21\.0 MB .* 10\.0 MB in .*cache, .* HF_HOME, --ch"):
        check_disks(settings, 1e6, download=10_000_000)


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second file system")
def test_download_to_another_disk_is_not_added(settings, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(OTHER_DISK / "cache"))
    set_free_bytes(monkeypatch, 15e6)
    check_disks(settings, 1e6, download=10_000_000)


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


@pytest.mark.parametrize(
    ("needed", "optim"),
    [
        (10.1e9, "adamw_torch_fused"),
        (20.8e9, "adamw_torch_fused"),
        (20.9e9, "paged_adamw_32bit"),
        (math.inf, "paged_adamw_32bit"),
    ],
    ids=["much room", "15 % to spare", "less to spare", "unknown"],
)
def test_optimizer_is_paged_on_a_card_without_room(settings, monkeypatch, needed, optim):
    on_gpu = replace(settings, optim="adamw_torch_fused")
    get_process()  # on the CPU
    assert choose_optimizer(settings, math.inf) == settings
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (24e9, 25e9))
    assert choose_optimizer(on_gpu, needed) == replace(settings, optim=optim)


def test_memory_of_the_run_is_returned(settings, monkeypatch):
    """The plan's sum. Infinity if the model cannot run without its weights."""
    base = Base(settings.model)
    config, lora = load_config(base), build_lora(settings, base)
    cost = measure_token_cost(config, lora, settings.precision)
    lengths = measure_lengths(encode_data(settings)[0])
    memory = estimate_memory(build_empty(config), cost, settings, lengths)
    assert check(settings) == sum(memory.values())

    def fail(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr("ner.training.machine.measure_token_cost", fail)
    assert check(settings) == math.inf


@pytest.fixture
def install_triton(monkeypatch):
    """A function that installs a Triton, and a card. An error given is that of Triton's build."""

    def install(error: Exception | None = None) -> list[str]:
        built = []

        class Driver:
            @property
            def active(self):
                built.append("cuda_utils")
                if error:
                    raise error

        runtime = ModuleType("triton.runtime")
        runtime.driver = Driver()
        monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
        monkeypatch.setitem(sys.modules, "triton.runtime", runtime)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        return built

    return install


def test_triton_builds_its_module(install_triton, monkeypatch):
    built = install_triton()
    check_compiler()
    assert built == ["cuda_utils"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_compiler()  # a CPU needs no Triton
    assert built == ["cuda_utils"]


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("libcuda.so cannot found!"),
        FileNotFoundError(2, "No such file or directory", "/sbin/ldconfig"),
        ImportError("undefined symbol: cuModuleGetFunction"),
        RuntimeError("Failed to find C compiler."),
        subprocess.CalledProcessError(1, ["gcc", "cuda_utils.c"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failure_of_triton_is_explained(install_triton, error):
    """The errors of Triton 3.7.1 without libcuda, ldconfig, a whole libcuda, gcc and a header."""
    install_triton(error)
    advice = r"gcc libc6-dev python3\.\d+-dev.*libcuda\.so\.1.*TRITON_LIBCUDA_PATH"
    with pytest.raises(InputError, match=advice) as failure:
        check_compiler()
    assert str(failure.value).endswith(f"Triton's error:\n{error}")


def test_missing_triton_is_explained(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(InputError, match="Triton cannot build its CUDA module"):
        check_compiler()


def test_compiler_is_checked_with_the_machine(settings, monkeypatch):
    checks = []
    monkeypatch.setattr("ner.training.machine.check_compiler", lambda: checks.append("compiler"))
    check(settings)
    assert checks == ["compiler"]
