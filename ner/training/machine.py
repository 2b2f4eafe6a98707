"""Check card, memory, disk and compiler for a run, before anything is downloaded."""

import math
import sys
import sysconfig
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from subprocess import SubprocessError

import torch
from accelerate.utils import broadcast_object_list
from huggingface_hub import constants
from peft import LoraConfig
from transformers import PreTrainedConfig

from ner.cli import InputError
from ner.files import find_existing_parent, free_bytes
from ner.model.device import check_device
from ner.model.gpu import check_card
from ner.model.loading import build_empty
from ner.model.process import get_process
from ner.training.checkpoints import list_checkpoints
from ner.training.memory import (
    MARGIN,
    ChatLengths,
    count_moments,
    estimate_memory,
    measure_token_cost,
)
from ner.training.packing import check_packable
from ner.training.run import TrainingSettings, split_batch


def check_machine(
    settings: TrainingSettings,
    config: PreTrainedConfig,
    lora: LoraConfig,
    lengths: ChatLengths,
    download: int,
) -> float:
    """Check the card, packing, memory, disk and compiler. Raises InputError.

    `config` is the base model's, and `download` the bytes of it that are not in the cache yet.
    Returns the memory of each process in bytes, infinity if unknown.
    """
    check_card(settings.precision, emulate=False)
    process = get_process()
    model = build_empty(config)
    if settings.pack:
        check_packable(settings.model, model, lengths.longest)
    batch_size, _ = split_batch(
        settings.batch_size, settings.gradient_accumulation, process.num_processes
    )
    try:
        cost = measure_token_cost(config, lora, settings.precision)
        memory = estimate_memory(model, cost, replace(settings, batch_size=batch_size), lengths)
    except RuntimeError as error:  # NotImplementedError is one
        process.print(
            f"memory and disk are not checked: {settings.model} cannot run without its weights "
            f"({error})"
        )
        needed = math.inf
    else:
        # With several processes, the all-reduce buckets hold a second copy of the gradients.
        buckets = memory["gradients"] if process.num_processes > 1 else 0
        needed = sum(memory.values()) + buckets
        working_bytes = needed - memory["base weights"]
        check_device(settings.model, model, settings.precision, working_bytes)
        check_disks(settings, memory["adapter"], download)
    check_compiler()
    return needed


def choose_optimizer(settings: TrainingSettings, needed: float) -> TrainingSettings:
    """Page the optimizer's moments, as in the post, on a card with little room.

    On a card with room, paging saves nothing and waits for the card once per LoRA matrix. All
    processes use the first one's choice. `needed` is the memory of a process in bytes.
    """
    if not torch.cuda.is_available():
        return settings
    free, _ = torch.cuda.mem_get_info(get_process().device)
    [has_room] = broadcast_object_list([MARGIN * needed <= free])
    return settings if has_room else replace(settings, optim="paged_adamw_32bit")


def check_disks(settings: TrainingSettings, adapter: float, download: int) -> None:
    """Check that the disks have room for everything a run writes. Raises InputError.

    `adapter` and `download` are sizes in bytes. A checkpoint also holds the optimizer's moments.
    Two checkpoints are kept while one is written. With --validation there is also the best adapter,
    and a second copy while it is replaced. What goes to the same disk is added up.
    """
    checkpoint = (1 + count_moments(settings.optim)) * adapter
    best = 2 * adapter if settings.validation else 0
    files = [
        (Path(constants.HF_HUB_CACHE), download, "HF_HOME"),
        (settings.checkpoint_dir, 3 * checkpoint + adapter + best, "--checkpoint_dir"),
        (settings.output_dir, adapter, "--output_dir"),
    ]
    disks = defaultdict(list)
    for folder, size, setting in files:
        if size:
            disks[find_existing_parent(folder).stat().st_dev].append((folder, size, setting))
    for disk in disks.values():
        check_room(*zip(*disk, strict=True))


def check_room(folders: list[Path], sizes: list[float], settings: list[str]) -> None:
    """Check that a disk has room for all its folders. Existing checkpoints count as free space."""
    paths = [path for folder in folders for path in list_checkpoints(folder)]
    existing = sum(file.stat().st_size for path in paths for file in path.iterdir())
    room = free_bytes(folders[0]) + existing
    if sum(sizes) > room:
        parts = zip(sizes, folders, strict=True)
        raise InputError(
            f"the run writes up to {sum(sizes) / 1e6:,.1f} MB to one disk, which has room for "
            f"{room / 1e6:,.1f} MB: "
            + ", ".join(f"{size / 1e6:,.1f} MB in {folder}" for size, folder in parts)
            + f". Free some space, or move a folder to another disk: {', '.join(settings)}"
        )


def check_compiler() -> None:
    """Let Triton build its CUDA module, which TRL's loss kernel needs at the first step.

    Takes seconds the first time. Triton keeps the module in its cache. Raises InputError.
    """
    if not torch.cuda.is_available():
        return
    try:
        from triton.runtime import driver

        driver.active  # noqa: B018 -- builds the module
    except (AssertionError, ImportError, OSError, RuntimeError, SubprocessError) as error:
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        raise InputError(
            "Triton cannot build its CUDA module, which the loss kernel needs. It takes a C "
            f"compiler, the headers of libc, and Python.h in {sysconfig.get_paths()['include']}: "
            f"apt-get install gcc libc6-dev {python}-dev. It also takes libcuda.so.1, which comes "
            "with the NVIDIA driver. If `ldconfig -p` does not list it, run ldconfig as root, or "
            f"set TRITON_LIBCUDA_PATH to its folder. Triton's error:\n{error}"
        ) from error
