"""Check whether a model fits on this machine."""

import torch
from accelerate.utils.memory import should_reduce_batch_size

from ner.cli import InputError
from ner.model.process import get_process

LARGEST_CPU_MODEL = 1_000_000_000  # parameters; a larger model trains for days on a CPU
NF4_BITS = 4.127  # per value: 4, and the scales of double quantization (QLoRA, section 3)


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
    """Memory of a base model's weights. In NF4, everything except the projections is bfloat16."""
    parameters = count_parameters(model)
    if precision == "float32":
        return 4 * parameters
    if precision == "bfloat16":
        return 2 * parameters
    packed = sum(layer.weight.numel() for layer in find_projections(model))
    return 2 * (parameters - packed) + NF4_BITS / 8 * packed


def check_device(name: str, model: torch.nn.Module, precision: str, working_bytes: float) -> None:
    """Check that this machine can hold a model and `working_bytes` beside it. Raises InputError.

    `model` may be empty.
    """
    needed = estimate_weight_bytes(model, precision) + working_bytes
    if torch.cuda.is_available():
        check_gpu(name, needed)
    elif (parameters := count_parameters(model)) > LARGEST_CPU_MODEL:
        raise InputError(
            f"{name} has {parameters / 1e9:.1f} billion parameters and needs a CUDA GPU with "
            f"about {needed / 1e9:.0f} GB free, but PyTorch {torch.__version__} (CUDA "
            f"{torch.version.cuda}) finds none. Check nvidia-smi, and that the driver is new "
            "enough for that CUDA. Rent a card of 24 GB, such as an RTX 4090, or run the whole "
            "pipeline without one: make rehearse"
        )


def check_gpu(name: str, needed: float) -> None:
    """Check that one GPU has `needed` bytes free. Raises InputError."""
    process = get_process()
    if torch.cuda.device_count() > 1 and process.num_processes == 1:
        raise InputError(
            f"one process sees {torch.cuda.device_count()} GPUs. To use all of them, write "
            "`accelerate launch` instead of `python`. To use one, set CUDA_VISIBLE_DEVICES=0"
        )
    free, _ = torch.cuda.mem_get_info(process.device)
    if needed > free:
        raise InputError(
            f"{name} needs about {needed / 1e9:.0f} GB of GPU memory, but "
            f"{torch.cuda.get_device_name(process.device)} has {free / 1e9:.0f} GB free. Stop "
            "other programs on it (nvidia-smi), lower --batch_size or, in training, --max_length, "
            "or rent a card of 24 GB, such as an RTX 4090"
        )


def is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or should_reduce_batch_size(error)
        or "CUDA error: out of memory" in str(error)
        or "ALLOC_FAILED" in str(error)
    )
