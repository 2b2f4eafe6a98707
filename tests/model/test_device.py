import pytest
import torch

from ner.cli import InputError
from ner.model.device import check_device, is_out_of_memory
from ner.model.exaone import ExaoneConfig
from ner.model.loading import build_empty
from ner.model.names import EXAONE


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
def test_large_model_without_a_gpu():
    message = r"7\.8 billion parameters.*CUDA GPU with about \d+ GB.*RTX 4090.*make rehearse"
    with pytest.raises(InputError, match=message):
        check_device(EXAONE, build_empty(ExaoneConfig()), "nf4", 3e9)
    small = build_empty(ExaoneConfig(num_layers=1, vocab_size=1000))
    check_device("small", small, "nf4", 3e9)


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
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"accelerate launch.*CUDA_VISIBLE_DEVICES=0"):
        check_device(EXAONE, model, "nf4", 3e9)


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
