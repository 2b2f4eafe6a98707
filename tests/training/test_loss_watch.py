import math

import pytest
import torch

from ner.training.loss_watch import LossWatch, describe_stalled_loss

# Losses of a Gemma 3 of 104 million parameters.
FALLING = [2.857] * 5 + [1.849] * 5 + [1.159] * 5 + [0.77] * 5 + [0.758] * 5 + [0.623] * 5


@pytest.mark.parametrize(
    ("losses", "warmup", "warns"),
    [
        ([2.3] * 29, 0, False),
        ([2.3] * 30, 0, True),
        ([2.3] * 119, 40, False),
        ([2.3] * 120, 40, True),
        ([2.0] * 5 + [1.7] * 25, 0, True),
        ([2.0] * 5 + [1.5] * 25, 0, False),
        (FALLING, 1, False),
        ([2.0] * 10 + [0.5] * 50 + [9.0] * 20, 0, True),
    ],
)
def test_stalled_loss(losses, warmup, warns):
    assert bool(describe_stalled_loss(losses, warmup)) == warns


def watch(losses: list[list[float]], first_step: int = 0, warn: bool = True) -> LossWatch:
    """Feed a watch with the losses of each step's micro-batches."""
    loss_watch = LossWatch(warn)
    for step, parts in enumerate(losses, start=first_step):
        for loss in parts:
            loss_watch.add(torch.tensor(loss))
        loss_watch.end_step([torch.ones(2)], step, warmup=0)
    return loss_watch


def test_loss_of_a_step_is_the_sum_over_its_micro_batches():
    assert watch([[1.0, 0.5], [0.25, 0.5]]).losses == [1.5, 0.75]


@pytest.mark.parametrize(
    ("first_step", "warn", "warnings"),
    [(0, True, 1), (0, False, 0), (5, True, 0)],
    ids=["once", "not for a trained adapter", "not in a resumed run"],
)
def test_stalled_loss_is_reported_once(capsys, first_step, warn, warnings):
    watch([[2.0]] * 50, first_step, warn)
    assert capsys.readouterr().out.count("warning: the loss has not fallen") == warnings


@pytest.mark.parametrize(
    ("loss", "gradient"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_step_without_a_finite_loss_and_gradient_is_stopped(loss, gradient):
    loss_watch = LossWatch(warn=True)
    loss_watch.add(torch.tensor(loss))
    with pytest.raises(FloatingPointError, match=f"the loss is {loss}, the norm .* {gradient}"):
        loss_watch.end_step([torch.tensor([0.0, gradient])], step=0, warmup=0)
    assert loss_watch.losses == []
