"""The memory that training takes, computed from the configuration and the chats alone."""

import copy
import math
from dataclasses import dataclass
from functools import partial

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from ner.model.device import estimate_weight_bytes, find_projections
from ner.model.loading import build_empty
from ner.training.encoding import IGNORED, count_shared_tokens
from ner.training.run import TrainingSettings

MARGIN = 1.15  # a card has room if it holds this many times the computed memory
CUDA_BYTES = 1e9  # CUDA's own context and libraries
BLOCK = 256  # values that share a float32 scale in an 8-bit optimizer
# TRL computes the loss for this many entries of the vocabulary at a time.
VOCABULARY_CHUNK = 32768
# The peak of a backward pass beyond the saved activations, in activations of one Llama layer, as
# tests/training/test_memory.py measures it. On a bfloat16 base, PEFT's layers cast to float32.
BACKWARD_LAYERS = {"nf4": 1 / 3, "bfloat16": 3 / 4, "float32": 1 / 3}


@dataclass(frozen=True)
class ChatLengths:
    """The number of chats, and their lengths in tokens."""

    chats: int
    mean: float
    longest: float
    prefix: int  # tokens that all chats begin with
    answer: float  # mean number of tokens under the loss


@dataclass(frozen=True)
class TokenCost:
    """Memory cost per token under LoRA, without the head."""

    layer_bytes: float  # saved by autograd in each layer
    input_bytes: float  # saved in the whole model if every layer is checkpointed
    adapter: int  # trained parameters


def measure_lengths(dataset: Dataset) -> ChatLengths:
    rows = list(dataset)
    lengths = [len(row["input_ids"]) for row in rows]
    labeled = sum(label != IGNORED for row in rows for label in row["labels"])
    return ChatLengths(
        chats=len(rows),
        mean=sum(lengths) / len(rows),
        longest=max(lengths),
        prefix=count_shared_tokens(rows),
        answer=labeled / len(rows),
    )


def count_tokens(lengths: ChatLengths, settings: TrainingSettings, length: float) -> float:
    """Tokens of a micro-batch of chats that all have the same length."""
    prefix = lengths.prefix if settings.pack else 0
    return prefix + settings.batch_size * (length - prefix)


def attend_efficiently(module, query, key, value, attention_mask, **kwargs):
    """Memory-efficient attention, which PyTorch uses on CUDA if there is a mask.

    On the meta device PyTorch would choose the plain one, which keeps every score.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    return attend(query, key, value, attention_mask, True)[0].transpose(1, 2), None


def drop_as_on_cuda(hidden: torch.Tensor, p: float) -> torch.Tensor:
    """Dropout as on CUDA, where it keeps one byte per element."""
    return torch.native_dropout(hidden, p, True)[0]


def build_empty_lora(config: PreTrainedConfig, lora: LoraConfig, dtype: torch.dtype):
    """A LoRA model without weights. It saves the same tensors for the backward pass as on CUDA."""
    AttentionInterface.register("attend_efficiently", attend_efficiently)
    base = build_empty(copy.deepcopy(config)).to(dtype)  # its attention is set below
    base.set_attn_implementation("attend_efficiently")
    with torch.device("meta"):
        # The adapter is float32, but autocast computes with copies in the base's dtype.
        model = get_peft_model(base, copy.deepcopy(lora)).to(dtype).train()  # PEFT edits a config
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.forward = partial(drop_as_on_cuda, p=module.p)
    return model


def measure_saved_bytes(model, length: int, dtype: torch.dtype) -> int:
    """Bytes that autograd saves in a forward pass over `length` tokens, besides the weights."""
    weights = {
        tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]
    }
    saved = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage
        return tensor

    with torch.device("meta"):
        input_ids = torch.zeros(1, length, dtype=torch.long)
        mask = torch.zeros(1, 1, length, length, dtype=dtype)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        model.get_base_model().base_model(input_ids=input_ids, attention_mask=mask, use_cache=False)
    return sum(storage.nbytes() for storage in saved.values())


def measure_token_cost(
    config: PreTrainedConfig, lora: LoraConfig, precision: str, length: int = 256
) -> TokenCost:
    """Run a model without weights and count the bytes that it would save."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    model = build_empty_lora(config, lora, dtype)
    everything = measure_saved_bytes(model, length, dtype)
    model.enable_input_require_grads()
    model.get_base_model().activation_checkpointing_enable()
    inputs = measure_saved_bytes(model, length, dtype)
    layers = config.get_text_config().num_hidden_layers
    return TokenCost(
        layer_bytes=(everything - inputs) / length / layers,
        input_bytes=inputs / length,
        adapter=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def estimate_layer(
    model: PreTrainedModel, cost: TokenCost, settings: TrainingSettings, lengths: ChatLengths
) -> float:
    """Activation bytes of one layer, for a micro-batch of the longest chats."""
    config = model.config.get_text_config()
    width = 4 if settings.precision == "float32" else 2
    tokens = count_tokens(lengths, settings, lengths.longest)
    prefix = lengths.prefix if settings.pack else 0
    masks = 1 if settings.pack else settings.batch_size
    size = cost.layer_bytes * tokens
    # Attention turns the mask into numbers in every layer.
    size += width * masks * (lengths.longest - prefix) * lengths.longest
    if width == 2:
        # Autocast copies the adapter.
        size += 2 * cost.adapter / config.num_hidden_layers
    if settings.pack:
        # Each chat's keys and values begin with the prefix's, and the results are joined.
        heads = config.num_attention_heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        size += width * heads * head_size * (2 * settings.batch_size * prefix + tokens)
    return size


def count_moments(optim: str) -> int:
    """How many numbers an optimizer keeps for each parameter."""
    if "ademamix" in optim:
        return 3
    if "adam" in optim:
        return 2
    return 0 if optim == "sgd" else 1


def estimate_optimizer(optim: str, parameters: int) -> float:
    """Bytes of an optimizer's moments. 8-bit ones take a byte per value and a scale per block."""
    width = 1 + 4 / BLOCK if "8bit" in optim else 4
    return count_moments(optim) * width * parameters


def estimate_memory(
    model: PreTrainedModel, cost: TokenCost, settings: TrainingSettings, lengths: ChatLengths
) -> dict[str, float]:
    """Bytes by part, for a micro-batch of the longest chats. `model` may be empty.

    The adapter, its gradients and its moments are float32.
    """
    layers = model.config.get_text_config().num_hidden_layers
    layer = estimate_layer(model, cost, settings, lengths)
    checkpointed, recomputed = 0, 0
    if settings.activation_checkpointing:
        checkpointed = math.ceil(layers / settings.checkpoint_every)
        # A last layer that is not checkpointed is freed before one is computed again.
        recomputed = int((layers - 1) % settings.checkpoint_every == 0)
    width = 4 if settings.precision == "float32" else 2
    head = model.get_output_embeddings()
    labeled = settings.batch_size * lengths.answer * lengths.longest / lengths.mean
    logits = width * min(VOCABULARY_CHUNK, head.out_features)
    unpacked = max(part.weight.numel() for part in find_projections(model))
    tokens = count_tokens(lengths, settings, lengths.longest)
    return {
        "base weights": estimate_weight_bytes(model, settings.precision),
        "adapter": 4 * cost.adapter,
        "gradients": 4 * cost.adapter,
        "optimizer": estimate_optimizer(settings.optim, cost.adapter),
        "activations": cost.input_bytes * tokens + (layers - checkpointed) * layer,
        "backward": (recomputed + BACKWARD_LAYERS[settings.precision]) * layer,
        "loss": labeled * ((width + 4) * head.in_features + logits),
        "one dequantized matrix": 2 * unpacked if settings.precision == "nf4" else 0,
        "CUDA": CUDA_BYTES,
    }
