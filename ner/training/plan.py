"""The memory that training takes with these settings and with others, without loading weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedConfig, PreTrainedModel

from ner.cli import InputError
from ner.model.device import count_parameters, find_projections
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base, explain_hub_errors, is_reachable
from ner.model.loading import build_empty, load_config
from ner.model.names import EXAONE
from ner.model.tokenizer import find_end_tokens, load_tokenizer
from ner.text.chats import load_chats
from ner.training.encoding import encode_chats
from ner.training.memory import (
    MARGIN,
    ChatLengths,
    TokenCost,
    count_tokens,
    estimate_memory,
    measure_lengths,
    measure_token_cost,
)
from ner.training.run import TrainingSettings
from ner.training.trainer import build_lora

CARDS = (24, 16, 12)  # GB
# The post's 21,008 chats. The longest is assumed.
POST_LENGTHS = ChatLengths(chats=21008, mean=149, longest=300, prefix=85, answer=22)


class PlanRow(NamedTuple):
    settings: TrainingSettings
    memory: float  # bytes
    tokens: float  # computed in an epoch


def print_plan(settings: TrainingSettings) -> None:
    """Print the memory of a run, of its alternatives, and what fits on smaller cards."""
    local_files_only = not can_ask_hub(settings)
    config = find_config(settings, local_files_only)
    lengths, source = find_lengths(settings, local_files_only)
    model = build_empty(config)
    lora = build_lora(settings, Base(settings.model, settings.revision))
    cost = measure_token_cost(config, lora, settings.precision)

    projections = find_projections(model)
    print(
        f"{settings.model}: {count_parameters(model):,} parameters, "
        f"{sum(part.weight.numel() for part in projections):,} of them in {len(projections)} "
        f"projections; LoRA of rank {settings.lora_r} trains {cost.adapter:,}"
    )
    print(
        f"chats: {lengths.chats:,} of {lengths.mean:.0f} tokens, {lengths.prefix} the same in all, "
        f"{lengths.answer:.0f} under the loss, the longest {lengths.longest} ({source})"
    )
    print("Memory is computed, not measured. It is for micro-batches of the longest chats.\n")
    print_parts(settings, estimate_memory(model, cost, settings, lengths))
    rows = list(vary_settings(model, cost, settings, lengths))
    print_rows(rows)
    print_advice(rows)


def can_ask_hub(settings: TrainingSettings) -> bool:
    """Whether the base model's small files are needed and can be read from the hub."""
    is_folder = Path(settings.model).is_dir()
    needs_files = settings.model != EXAONE or settings.data.is_file()
    with explain_hub_errors(settings.model, "Choose a local folder instead"):
        return not is_folder and needs_files and is_reachable(settings.model)


def find_config(settings: TrainingSettings, local_files_only: bool) -> PreTrainedConfig:
    """The base model's configuration. EXAONE's is built in, because its repository is gated."""
    if settings.model == EXAONE:
        return ExaoneConfig()
    with explain_hub_errors(settings.model, "Choose a local folder instead"):
        return load_config(Base(settings.model, settings.revision), local_files_only)


def find_lengths(settings: TrainingSettings, local_files_only: bool) -> tuple[ChatLengths, str]:
    """The lengths of the chats in --data, and a description of their source.

    If the chats cannot be encoded, these are the lengths of the post's chats.
    """
    post = POST_LENGTHS
    if settings.loss == "chat":
        post = replace(post, prefix=0, answer=post.mean)
    if not settings.data.is_file():
        return post, f"the post's, with the longest assumed, because {settings.data} does not exist"
    base = Base(settings.model, settings.revision)
    try:
        tokenizer = load_tokenizer(base, local_files_only)
    except InputError:
        return post, "the post's, with the longest assumed, because the tokenizer cannot be read"
    dataset = encode_chats(
        load_chats(settings.data),
        tokenizer,
        find_end_tokens(base, tokenizer, local_files_only),
        settings.max_length,
        settings.loss,
    )
    return measure_lengths(dataset), str(settings.data)


def vary_settings(
    model: PreTrainedModel, cost: TokenCost, settings: TrainingSettings, lengths: ChatLengths
) -> Iterator[PlanRow]:
    """The same steps, packed and padded, in micro-batches of several sizes, checkpointed or not."""
    step = settings.chats_per_step
    sizes = [size for size in (4, 8, 16) if step % size == 0] or [settings.batch_size]
    for pack in (False, True):
        for batch_size in sizes:
            for every in (1, 2, None):
                varied = replace(
                    settings,
                    pack=pack,
                    batch_size=batch_size,
                    gradient_accumulation=step // batch_size,
                    activation_checkpointing=every is not None,
                    checkpoint_every=every or 1,
                )
                memory = sum(estimate_memory(model, cost, varied, lengths).values())
                batches = lengths.chats / batch_size
                yield PlanRow(varied, memory, batches * count_tokens(lengths, varied, lengths.mean))


def describe_checkpointing(settings: TrainingSettings) -> str:
    if not settings.activation_checkpointing:
        return "none"
    return f"one layer in {settings.checkpoint_every}"


def print_parts(settings: TrainingSettings, memory: dict[str, float]) -> None:
    print(
        f"these settings: {settings.precision}, {settings.optim}, batch {settings.batch_size} x "
        f"{settings.gradient_accumulation} {'packed' if settings.pack else 'padded'}, "
        f"checkpointed {describe_checkpointing(settings)}"
    )
    for name, size in memory.items():
        if size:
            print(f"{name:>26} {size / 1e9:6.2f} GB")
    print(f"{'together':>26} {sum(memory.values()) / 1e9:6.2f} GB\n")


def print_rows(rows: list[PlanRow]) -> None:
    print("batch   sequences  checkpointed          GB  million tokens per epoch")
    for settings, memory, tokens in rows:
        print(
            f"{settings.batch_size:>2} x {settings.gradient_accumulation:<3} "
            f"{'packed' if settings.pack else 'padded':10} {describe_checkpointing(settings):16} "
            f"{memory / 1e9:7.1f} {tokens / 1e6:10.2f}"
        )
    print()


def print_advice(rows: list[PlanRow]) -> None:
    """Print flags for each size of card: the largest micro-batch that fits, in the least memory."""
    for size in CARDS:
        for pack in (True, False):
            fitting = [
                row
                for row in rows
                if row.settings.pack == pack and MARGIN * row.memory <= size * 1e9
            ]
            if not fitting:
                print(f"{size} GB: nothing {'packed' if pack else 'padded'} fits")
                continue
            best = min(fitting, key=lambda row: (-row.settings.batch_size, row.memory))
            print(
                f"{size} GB: {format_flags(best.settings)}  ({best.memory / 1e9:.1f} GB and 15 % "
                "to spare)"
            )


def format_flags(settings: TrainingSettings) -> str:
    flags = [
        "--pack" if settings.pack else "--no-pack",
        f"--batch_size {settings.batch_size}",
        f"--gradient_accumulation {settings.gradient_accumulation}",
    ]
    if settings.activation_checkpointing:
        flags.append(f"--activation_checkpointing --checkpoint_every {settings.checkpoint_every}")
    else:
        flags.append("--no-activation_checkpointing")
    return " ".join(flags)
