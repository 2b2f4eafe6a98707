"""Watch the loss of a run: stop if it is not finite, warn if it does not fall."""

import math
from statistics import fmean

import torch

from ner.model.process import get_process


class LossWatch:
    """Keeps each step's loss. Stops if one is not finite, and warns once if they do not fall."""

    def __init__(self, warn: bool):
        self.warn = warn
        self.losses: list[float] = []
        self.step_loss = 0.0

    def add(self, loss: torch.Tensor) -> None:
        """Add a micro-batch's share of the step's loss. It stays on its device."""
        self.step_loss = self.step_loss + loss

    def end_step(self, gradients: list[torch.Tensor], step: int, warmup: int) -> None:
        """Check a step before it is taken. Raises FloatingPointError."""
        norm = torch.nn.utils.get_total_norm(gradients)
        # Transfer both at once, because each transfer makes the GPU wait.
        loss, norm = torch.stack([self.step_loss, norm]).tolist()
        if not math.isfinite(loss + norm):
            raise FloatingPointError(f"the loss is {loss}, the norm of its gradient {norm}")
        self.losses.append(loss)
        self.step_loss = 0.0
        # A resumed run has not seen its first steps.
        saw_every_step = len(self.losses) == step + 1
        if self.warn and saw_every_step and (warning := describe_stalled_loss(self.losses, warmup)):
            self.warn = False
            get_process().print(warning)


def describe_stalled_loss(losses: list[float], warmup: int) -> str | None:
    """A warning if the mean of the last 20 losses is not a fifth below that of the first 5.

    None otherwise, and before step 30 or three times the warm-up. On KLUE, a model of 104 million
    parameters has reached 0.3 of its first loss by then.
    """
    if len(losses) < max(30, 3 * warmup):
        return None
    first, latest = fmean(losses[:5]), fmean(losses[-20:])
    if latest <= 0.8 * first:
        return None
    return (
        f"warning: the loss has not fallen: {first:.3g} over the first 5 steps, {latest:.3g} over "
        f"the 20 up to step {len(losses)}. Check --learning_rate, which may be too low or too "
        "high, and the data"
    )
