import os

import pytest
import torch

from ner.cli import InputError
from ner.model import device
from ner.model.device import check_device, estimate_weight_bytes, is_out_of_memory
from ner.model.exaone import ExaoneConfig
from ner.model.loading import build_empty
from ner.model.names import EXAONE


@pytest.fixture
def without_gpu(monkeypatch, tmp_path) -> None:
    """A machine with 16 GB of RAM, no GPU and no container."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 4e6, "SC_PAGE_SIZE": 4e3}.__getitem__)
    monkeypatch.setattr(device, "MEMORY_LIMIT", tmp_path / "memory.max")


@pytest.mark.usefixtures("without_gpu")
def test_large_model_that_the_memory_cannot_hold():
    """EXAONE in 4-bit takes 5.3 GB."""
    model = build_empty(ExaoneConfig())
    message = (
        r"7\.8 billion parameters.*finds no GPU.*take about 17 GB of memory.*has 16 GB.*nvidia-smi"
        r".*RTX 4090.*make rehearse.*--activation_checkpointing"
    )
    with pytest.raises(InputError, match=message):
        check_device(EXAONE, model, "nf4", 12e9)


@pytest.mark.usefixtures("without_gpu")
def test_large_model_without_a_gpu(capsys):
    check_device(EXAONE, build_empty(ExaoneConfig()), "nf4", 3e9)
    printed = capsys.readouterr().out
    assert printed.startswith(f"note: {EXAONE} has 7.8 billion parameters")
    assert "about 8 GB of this machine's 16 GB of memory and is slow\n" in printed
    assert printed.count("\n") == 1


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize(
    ("limit", "size"), [("8000000000", "8 GB"), ("32000000000", "16 GB"), ("max", "16 GB")]
)
def test_container_limits_the_memory(limit, size):
    device.MEMORY_LIMIT.write_text(f"{limit}\n")
    with pytest.raises(InputError, match=f"about 17 GB of memory.*this machine has {size}"):
        check_device(EXAONE, build_empty(ExaoneConfig()), "nf4", 12e9)


@pytest.mark.usefixtures("without_gpu")
def test_small_model_without_a_gpu(capsys):
    """It may try: the estimate of an evaluation is generous."""
    small = build_empty(ExaoneConfig(num_layers=1, vocab_size=1000))
    check_device("small", small, "nf4", 20e9)
    assert capsys.readouterr().out == ""


def test_gpu_with_too_little_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "RTX 3060")
    model = build_empty(ExaoneConfig())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7e9, 12e9))
    message = r"needs about 8 GB of GPU memory, but RTX 3060 has 7 GB free.*lower --batch_size"
    with pytest.raises(InputError, match=message):
        check_device(EXAONE, model, "nf4", 3e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9e9, 12e9))
    check_device(EXAONE, model, "nf4", 3e9)
    message = r"needs about 19 GB.*\(nvidia-smi\), choose --precision nf4, lower --batch_size"
    with pytest.raises(InputError, match=message):
        check_device(EXAONE, model, "merged", 3e9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"accelerate launch.*CUDA_VISIBLE_DEVICES=0"):
        check_device(EXAONE, model, "nf4", 3e9)


@pytest.mark.parametrize(
    ("precision", "gigabytes"), [("nf4", 5.3), ("merged", 15.6), ("bfloat16", 15.6)]
)
def test_memory_of_the_weights(precision, gigabytes):
    size = estimate_weight_bytes(build_empty(ExaoneConfig()), precision)
    assert size / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("a bug"), False),
    ],
    ids=["Python", "PyTorch", "driver", "cuBLAS", "another error"],
)
def test_out_of_memory_errors_are_recognized(error, expected):
    assert is_out_of_memory(error) is expected
