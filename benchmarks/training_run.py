"""Take a few training steps as train.py does, and measure their time, tokens and memory."""

import dataclasses
import resource
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedConfig, TrainerCallback

import train
from ner.model.gpu import has_cuda
from ner.model.hub import Base
from ner.model.loading import build_empty, load_config, load_model
from ner.model.tokenizer import find_end_tokens, load_tokenizer
from ner.text.chats import load_chats
from ner.training.encoding import IGNORED, encode_chats
from ner.training.memory import estimate_memory, measure_lengths, measure_token_cost
from ner.training.run import TrainingSettings, complete_settings
from ner.training.trainer import ChatTrainer, EpochOrder, build_config, build_trainer, prepare_lora


class Clock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_step_begin(self, *args, **kwargs):
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.start)


def choose_rows(dataset: Dataset, settings: TrainingSettings) -> list[int]:
    """The rows of `max_steps` steps, evenly spread over an epoch, in the order of training.

    A step has chats of similar length, and the longest chats come first. So consecutive steps would
    not represent an epoch.
    """
    lengths = [len(input_ids) for input_ids in dataset["input_ids"]]
    step = settings.chats_per_step
    order = list(EpochOrder(lengths, step if settings.group_by_length else None, settings.seed))
    rows = []
    for number in range(settings.max_steps):
        start = int((number + 0.5) * (len(order) // step) / settings.max_steps) * step
        rows += order[start : start + step]
    return rows


def arrange_rows(dataset: Dataset, rows: list[int], seed: int) -> Dataset:
    """Place the rows so that a trainer without grouping by length takes them in this order."""
    positions = EpochOrder([0] * len(rows), None, seed)
    row_at = dict(zip(positions, rows, strict=True))
    return dataset.select([row_at[position] for position in range(len(rows))])


def count_batches(trainer: ChatTrainer, dataset: Dataset, rows: list[int]) -> list[tuple]:
    """For each micro-batch: its chats, their tokens, and the tokens computed and under the loss."""
    batch_size = trainer.args.per_device_train_batch_size
    counts = []
    for start in range(0, len(rows), batch_size):
        chats = [dataset[row] for row in rows[start : start + batch_size]]
        batch = trainer.data_collator(chats)
        counts.append(
            (
                len(chats),
                sum(len(chat["input_ids"]) for chat in chats),
                batch["input_ids"].numel(),
                int((batch["labels"] != IGNORED).sum()),
            )
        )
    return counts


def measure(flags: list[str], watch: AbstractContextManager | None = None) -> dict:
    """Train a few steps with the flags of train.py, inside `watch`.

    The first step does not count: it allocates memory and chooses kernels.
    """
    settings = complete_settings(train.parse_args(flags), adapter=None, cuda=has_cuda())
    base = Base(settings.model)
    tokenizer = load_tokenizer(base)
    end_tokens = find_end_tokens(base, tokenizer)
    chats = load_chats(settings.data)
    dataset = encode_chats(chats, tokenizer, end_tokens, settings.max_length, settings.loss)
    rows = choose_rows(dataset, settings)
    config = load_config(base)
    lora, _ = prepare_lora(settings, base, None, config.model_type)
    clock = Clock()
    trainer = build_trainer(
        load_model(base, settings.precision),
        tokenizer,
        arrange_rows(dataset, rows, settings.seed),
        dataclasses.replace(settings, group_by_length=False),
        build_config(settings),
        lora,
        [clock],
    )
    with watch or nullcontext():
        trainer.train()
    counts = count_batches(trainer, dataset, rows)[settings.gradient_accumulation :]
    sentences, tokens, computed, labeled = map(sum, zip(*counts, strict=True))
    seconds = sum(clock.seconds[1:])
    return {
        "sentences_per_second": sentences / seconds,
        "tokens_per_second": tokens / seconds,
        "computed_per_token": computed / tokens,
        "under_loss": labeled / tokens,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "peak_bytes": find_peak_bytes(),
        "plan_bytes": plan_bytes(settings, config, lora, dataset),
    }


def plan_bytes(
    settings: TrainingSettings, config: PreTrainedConfig, lora: LoraConfig, dataset: Dataset
) -> float:
    """The plan's memory for these settings and chats, without CUDA's own. PyTorch counts so too."""
    cost = measure_token_cost(config, lora, settings.precision)
    parts = estimate_memory(build_empty(config), cost, settings, measure_lengths(dataset))
    return sum(parts.values()) - parts["CUDA"]


def find_peak_bytes() -> int:
    """Peak memory so far, on the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def profile(flags: list[str]) -> str:
    """A table of the operators that took the most time on the CPU."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)
    measure(flags, profiler)
    return profiler.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=60
    )
