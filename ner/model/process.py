"""This process among those that `accelerate launch` started."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def has_cuda() -> bool:
    """Whether PyTorch can use a CUDA GPU here.

    Raises InputError if there is a card that PyTorch cannot use.
    """
    import torch  # see get_process

    from ner.model.gpu import check_driver

    check_driver()
    return torch.cuda.is_available()


def get_process() -> "PartialState":
    """This process: its index, its device, and how to wait for the others."""
    # Imported here because they take a second, and `--help` should not wait for them.
    from datetime import timedelta

    import torch
    from accelerate import PartialState

    # Without `cpu`, Accelerate does not connect CPU processes. While one downloads or scores, the
    # others wait, and NCCL's own limit of ten minutes is too short for that.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=12))
