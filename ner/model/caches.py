"""Keys and values of rows that accept different numbers of drafted tokens."""

import torch
from transformers import Cache


def compact_cache(cache: Cache, mask: torch.Tensor) -> torch.Tensor:
    """Move each row's tokens to the right, and cut off the columns that no row needs.

    `mask` has the shape (rows, tokens) and is 0 at rejected tokens and padding. Returns the new
    mask. Without gaps, a layer with a sliding window measures distances as without drafts.
    """
    width = int(mask.sum(dim=1).max())
    order = mask.argsort(dim=1, stable=True)[:, -width:]
    for layer in cache.layers:
        layer.keys = select_columns(layer.keys, order)
        layer.values = select_columns(layer.values, order)
    return mask.gather(1, order)


def select_columns(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Select tokens of each row, from states of shape (rows, heads, tokens, size)."""
    index = order[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
    return states.gather(2, index)
