"""Check the driver and the precision of an NVIDIA card, before a model loads."""

import os
import subprocess

import torch

from ner.cli import InputError
from ner.model.process import get_process

# The oldest driver for each version of CUDA: docs.nvidia.com/deploy/cuda-compatibility
OLDEST_DRIVERS = {"12": 525, "13": 580}
# Turing, such as the T4. CUDA 13 has no kernels for older cards.
OLDEST_CAPABILITY = (7, 5)
USE_A_NEWER_CARD = (
    "Use a card with native bfloat16: Ampere or newer, such as an RTX 3090, RTX 4090, A5000 or L4."
)
TO_USE_THE_CPU = "To use the CPU instead, run `export CUDA_VISIBLE_DEVICES=` first"


def find_driver() -> str | None:
    """The version of the NVIDIA driver, such as "550.54.14". None if there is no card."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.partition("\n")[0].strip()


def check_driver() -> None:
    """Check that PyTorch finds the machine's NVIDIA cards, so that no run uses the CPU unasked.

    A PyTorch without CUDA and an empty CUDA_VISIBLE_DEVICES are choices of the CPU. Raises
    InputError.
    """
    cuda = torch.version.cuda
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if cuda is None or hidden or torch.cuda.is_available():
        return
    driver = find_driver()
    if not driver:
        return
    version = torch.__version__.partition("+")[0]
    oldest = OLDEST_DRIVERS.get(cuda.partition(".")[0])
    if oldest and int(driver.partition(".")[0]) < oldest:
        raise InputError(
            f"PyTorch {version} is built for CUDA {cuda}, which needs NVIDIA driver {oldest} or "
            f"newer. This machine has driver {driver}. Rent a host with driver {oldest} or newer, "
            f"or install the same PyTorch for CUDA 12.6, which needs only "
            f"{OLDEST_DRIVERS['12']}: pip install torch=={version}+cu126 --index-url "
            f"https://download.pytorch.org/whl/cu126. {TO_USE_THE_CPU}"
        )
    raise InputError(
        f"PyTorch {version} (CUDA {cuda}) finds no GPU, but nvidia-smi finds one, with driver "
        f"{driver}. To see why, run: python -c 'import torch; torch.cuda.init()'. {TO_USE_THE_CPU}"
    )


def has_cuda() -> bool:
    """Whether PyTorch can use a CUDA GPU here.

    Raises InputError if there is a card that PyTorch cannot use.
    """
    check_driver()
    return torch.cuda.is_available()


def check_card(precision: str, emulate: bool) -> None:
    """Check that the GPU has kernels, and native bfloat16 unless `precision` is float32.

    With `emulate`, a card without native bfloat16 gets a note instead of an error. Raises
    InputError.
    """
    if not has_cuda():
        return
    name = torch.cuda.get_device_name()
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST_CAPABILITY:
        major, minor = capability
        raise InputError(
            f"{name} has compute capability {major}.{minor}. There are no kernels for cards below "
            f"7.5 (Turing). {USE_A_NEWER_CARD} {TO_USE_THE_CPU}"
        )
    if precision == "float32" or torch.cuda.is_bf16_supported(including_emulation=False):
        return
    message = (
        f"{name} has no native bfloat16. PyTorch emulates it, many times slower. There is no "
        f"float16 path. {USE_A_NEWER_CARD}"
    )
    if not emulate:
        raise InputError(f"{message} For a small model, --precision float32 works on this card")
    get_process().print(f"note: {message}")
