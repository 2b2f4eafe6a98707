"""Packed micro-batches: one sequence with the common prefix once, then all chats.

Each chat sees that prefix and itself, at the positions it would have alone. Nothing is padded.
Without dropout, loss and gradients are those of the padded batch, at less than half its tokens.
With dropout, the chats of a micro-batch share its draws on the prefix.
"""

import torch
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
    - `chat_slots`, of shape (T - P,): where each token after the prefix goes if every chat gets R
      slots, as many as the longest needs
    - `chat_count`: the number of chats

    `attend_packed` needs the last three.
    """
    prefix = count_shared_tokens(rows)
    input_ids = rows[0]["input_ids"][:prefix]
    labels = [IGNORED] * prefix
    positions = list(range(prefix))
    longest = max(len(row["input_ids"]) for row in rows) - prefix
    slots = []
    for number, row in enumerate(rows):
        rest = row["input_ids"][prefix:]
        input_ids += rest
        # A chat's first token after the prefix has no label, because the token before it belongs to
        # another chat.
        labels += [IGNORED, *row["labels"][prefix + 1 :]]
        positions += range(prefix, prefix + len(rest))
        slots += range(number * longest, number * longest + len(rest))
    mask = torch.ones(1, 1, longest, prefix + longest, dtype=torch.bool).tril(prefix)
    return {
        "input_ids": torch.tensor([input_ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "attention_mask": mask,
        "chat_slots": torch.tensor(slots),
        "chat_count": len(rows),
    }


def align_chats(chats: torch.Tensor, slots: torch.Tensor, count: int, longest: int) -> torch.Tensor:
    """One chat per row, padded at its end: (1, heads, T - P, size) to (chats, heads, R, size)."""
    _, heads, _, size = chats.shape
    aligned = chats.new_zeros(heads, count * longest, size)
    aligned = aligned.index_copy(1, slots, chats.squeeze(0))
    return aligned.view(heads, count, longest, size).transpose(0, 1)


def attend_packed(
    module,
    query,
    key,
    value,
    attention_mask,
    chat_slots: torch.Tensor | None = None,
    chat_count: int = 0,
    **kwargs,
):
    """Compute each chat's attention over a packed sequence, with PyTorch's attention.

    One mask over the whole sequence would compare each chat with all others needlessly. For 16
    chats of 60 tokens after a prefix of 85, that is seven times as much.
    """
    if chat_slots is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    sizes = [query.shape[2] - len(chat_slots), len(chat_slots)]
    prefix, chats = zip(
        *(states.split(sizes, dim=2) for states in (query, key, value)), strict=True
    )
    longest = attention_mask.shape[2]
    chats = [align_chats(states, chat_slots, chat_count, longest) for states in chats]
    attended = []
    if sizes[0]:
        # Copies, because a view that is kept for the backward pass would keep the whole tensor.
        prefix = [states.clone() for states in prefix]
        first, _ = sdpa_attention_forward(module, *prefix, None, **kwargs)
        attended.append(first.squeeze(0))
        # Each chat's keys and values come after those of the prefix.
        for i in (1, 2):
            shared = prefix[i].expand(chat_count, -1, -1, -1)
            chats[i] = torch.cat([shared, chats[i]], dim=2)
    rows, _ = sdpa_attention_forward(module, *chats, attention_mask, **kwargs)
    attended.append(rows.flatten(0, 1).index_select(0, chat_slots))
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
