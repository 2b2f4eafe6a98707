"""Packed micro-batches: one sequence with the common prefix once, then all chats.

Each chat sees that prefix and itself, at the positions it would have alone. Nothing is padded.
Without dropout, loss and gradients are those of the padded batch, at less than half its tokens.
With dropout, the chats of a micro-batch share its draws on the prefix.
"""

import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ner.cli import InputError
from ner.training.encoding import IGNORED, count_shared_tokens


def pack_chats(rows: list[dict]) -> dict:
    """Pack encoded chats into one sequence of T tokens that begins with their prefix of P tokens.

    Returns:

    - `input_ids`, `labels` and `position_ids` of shape (1, T)
    - `attention_mask`, boolean, of shape (1, 1, R, P + R): queries by keys
    - `chat_lengths`: each chat's number of tokens after the prefix. R is the largest

    `attend_packed` needs the last two.
    """
    prefix = count_shared_tokens(rows)
    input_ids = rows[0]["input_ids"][:prefix]
    labels = [IGNORED] * prefix
    positions = list(range(prefix))
    lengths = []
    for row in rows:
        rest = row["input_ids"][prefix:]
        input_ids += rest
        # A chat's first token after the prefix has no label, because the token before it belongs to
        # another chat.
        labels += [IGNORED, *row["labels"][prefix + 1 :]]
        positions += range(prefix, prefix + len(rest))
        lengths.append(len(rest))
    longest = max(lengths)
    mask = torch.ones(1, 1, longest, prefix + longest, dtype=torch.bool).tril(prefix)
    return {
        "input_ids": torch.tensor([input_ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": mask,
        "chat_lengths": lengths,
    }


def align_chats(states: torch.Tensor, prefix: int, lengths: list[int]) -> torch.Tensor:
    """One chat per row, padded at its end: (1, heads, T, size) to (chats, heads, R, size)."""
    chats = states[0, :, prefix:].split(lengths, dim=1)
    longest = max(lengths)
    return torch.stack([pad(chat, (0, 0, 0, longest - chat.shape[1])) for chat in chats])


def add_prefix(
    prefix_states: torch.Tensor, states: torch.Tensor, lengths: list[int]
) -> torch.Tensor:
    """One chat per row, each after the prefix: (chats, heads, P + R, size)."""
    chats = align_chats(states, prefix_states.shape[2], lengths)
    return torch.cat([prefix_states.expand(len(lengths), -1, -1, -1), chats], dim=2)


def attend_packed(
    module, query, key, value, attention_mask, chat_lengths: list[int] | None = None, **kwargs
):
    """Compute each chat's attention over a packed sequence, with PyTorch's attention.

    One mask over the whole sequence would compare each chat with all others needlessly. For 16
    chats of 60 tokens after a prefix of 85, that is seven times as much.
    """
    if chat_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    prefix = query.shape[2] - sum(chat_lengths)
    # Copies, because a view that is kept for the backward pass would keep the whole tensor.
    prefix_query, prefix_key, prefix_value = (
        states[:, :, :prefix].clone() for states in (query, key, value)
    )
    chat_key = add_prefix(prefix_key, key, chat_lengths)
    chat_value = add_prefix(prefix_value, value, chat_lengths)
    chat_query = align_chats(query, prefix, chat_lengths)
    chats, _ = sdpa_attention_forward(
        module, chat_query, chat_key, chat_value, attention_mask, **kwargs
    )
    attended = [chat[:length] for chat, length in zip(chats, chat_lengths, strict=True)]
    if prefix:
        first, _ = sdpa_attention_forward(
            module, prefix_query, prefix_key, prefix_value, None, **kwargs
        )
        attended = [first[0], *attended]
    return torch.cat(attended)[None], None


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let a model attend with `attend_packed`."""
    AttentionInterface.register("attend_packed", attend_packed)
    AttentionMaskInterface.register("attend_packed", sdpa_mask)
    model.set_attn_implementation("attend_packed")


def refuse_packing(name: str, reason: str) -> InputError:
    return InputError(
        f"{name} reads packed chats differently from single ones ({reason}). Add --no-pack"
    )


def check_packable(name: str, model: PreTrainedModel, longest: int) -> None:
    """Check that `attend_packed` can compute every layer's attention. Raises InputError.

    `model` may be empty, and `longest` is the longest chat's number of tokens. Attention that
    PyTorch does not compute may have sinks or soft caps. A sliding window shorter than `longest`
    needs a mask that `attend_packed` does not build.
    """
    config = model.config.get_text_config()
    attention = config._attn_implementation
    if attention != "sdpa":
        raise refuse_packing(name, f"its attention is {attention}, not sdpa")
    types = set(getattr(config, "layer_types", None) or [])
    if others := types - {"full_attention", "sliding_attention"}:
        raise refuse_packing(name, f"it has layers of {', '.join(sorted(others))}")
    window = getattr(config, "sliding_window", None)
    if window and window < longest:
        raise refuse_packing(
            name,
            f"its attention window is {window} tokens, and the longest chat has {longest}: "
            f"--max_length {window} leaves such chats out",
        )
