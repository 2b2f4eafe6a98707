"""This process among those that `accelerate launch` started."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def get_process() -> "PartialState":
    """This process: its index, its device, and how to wait for the others."""
    # Imported here because they take a second, and `--help` should not wait for them.
    from datetime import timedelta

    import torch
    from accelerate import PartialState

    # Without `cpu`, Accelerate does not connect CPU processes. While one downloads or scores, the
    # others wait, and NCCL's own limit of ten minutes is too short for that.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(hours=12))
