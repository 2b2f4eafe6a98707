"""Check whether a model fits on this machine."""

import os
from pathlib import Path

import torch
from accelerate.utils.memory import should_reduce_batch_size

from ner.cli import InputError
from ner.model.process import get_process

LARGEST_CPU_MODEL = 1_000_000_000  # parameters; larger models are slow and tight on a CPU
NF4_BITS = 4.127  # per value: 4, and the scales of double quantization (QLoRA, section 3)
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container's: bytes, or "max" for none


def find_projections(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """The linear layers that 4-bit quantization packs and LoRA adapts: all except the head.

    EXAONE has seven in each layer.
    """
    head = model.get_output_embeddings()
    return [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def estimate_weight_bytes(model: torch.nn.Module, precision: str) -> float:
    """Memory of a base model's weights. In NF4, everything except the projections is bfloat16.

    "merged" weights are bfloat16, and a single layer has packed ones beside them while they load.
    """
    parameters = count_parameters(model)
    if precision == "float32":
        return 4 * parameters
    if precision in ("bfloat16", "merged"):
        return 2 * parameters
    packed = sum(layer.weight.numel() for layer in find_projections(model))
    return 2 * (parameters - packed) + NF4_BITS / 8 * packed


def check_device(name: str, model: torch.nn.Module, precision: str, working_bytes: float) -> None:
    """Check that this machine can hold a model and `working_bytes` beside it. Raises InputError.

    `model` may be empty.
    """
    needed = estimate_weight_bytes(model, precision) + working_bytes
    if torch.cuda.is_available():
        check_gpu(name, needed, precision)
    elif (parameters := count_parameters(model)) > LARGEST_CPU_MODEL:
        check_ram(name, parameters, needed)


def measure_ram() -> int:
    """This machine's memory in bytes, or its container's limit (cgroup v2) if that is lower."""
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = MEMORY_LIMIT.read_text().strip() if MEMORY_LIMIT.is_file() else "max"
    return ram if limit == "max" else min(ram, int(limit))


def check_ram(name: str, parameters: int, needed: float) -> None:
    """Check that a machine without a GPU has `needed` bytes of RAM, and warn that it is slow.

    Memory that other programs hold counts as available, because they can be closed. Raises
    InputError.
    """
    ram = measure_ram()
    if needed > ram:
        raise InputError(
            f"{name} has {parameters / 1e9:.1f} billion parameters, but PyTorch "
            f"{torch.__version__} (CUDA {torch.version.cuda}) finds no GPU. Without one, these "
            f"settings take about {needed / 1e9:.0f} GB of memory, but this machine has "
            f"{ram / 1e9:.0f} GB. Check nvidia-smi, and that the driver is new enough for that "
            "CUDA. Rent a card of 24 GB, such as an RTX 4090, or run the whole pipeline on a tiny "
            "model: make rehearse. To stay on this machine, which is slow, lower --batch_size and, "
            "in training, add --activation_checkpointing"
        )
    get_process().print(
        f"note: {name} has {parameters / 1e9:.1f} billion parameters, but PyTorch finds no GPU "
        f"(check nvidia-smi). Without one, it takes about {needed / 1e9:.0f} GB of this machine's "
        f"{ram / 1e9:.0f} GB of memory and is slow"
    )


def check_gpu(name: str, needed: float, precision: str) -> None:
    """Check that one GPU has `needed` bytes free. Raises InputError."""
    process = get_process()
    if torch.cuda.device_count() > 1 and process.num_processes == 1:
        raise InputError(
            f"one process sees {torch.cuda.device_count()} GPUs. To use all of them, write "
            "`accelerate launch` instead of `python`. To use one, set CUDA_VISIBLE_DEVICES=0"
        )
    free, _ = torch.cuda.mem_get_info(process.device)
    if needed > free:
        smaller = "" if precision == "nf4" else "choose --precision nf4, "
        raise InputError(
            f"{name} needs about {needed / 1e9:.0f} GB of GPU memory, but "
            f"{torch.cuda.get_device_name(process.device)} has {free / 1e9:.0f} GB free. Stop "
            f"other programs on it (nvidia-smi), {smaller}lower --batch_size or, in training, "
            "--max_length, or rent a card of 24 GB, such as an RTX 4090"
        )


def is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or should_reduce_batch_size(error)
        or "CUDA error: out of memory" in str(error)
        or "ALLOC_FAILED" in str(error)
    )
