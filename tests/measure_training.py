"""Measure how fast training is: the post's settings, ours, and ours without packing, on the same model and the same chats.

Each in a process of its own, for its peak memory. Prints sentences and tokens a second, what is padded or shared, how many
tokens carry loss, and the ratios. Without --model and --data, on a random EXAONE of 30 million parameters and data/sample.

    make bench
    python -m tests.measure_training --model MODEL --data data/train.jsonl
    python -m tests.measure_training --model MODEL --data data/train.jsonl --profile    where the time goes, by operator
"""
import exaone
import train
from data_processing import positive_int, preprocessing_data, run_script

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback

POST = ["--batch_size", "4", "--gradient_accumulation", "4", "--no-pack", "--loss", "chat", "--lora_targets", "qkv",
        "--activation_checkpointing"]
# What PyTorch frees on a CPU is kept for the next step, in all runs alike: asking the system for it anew takes a third of the time.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36)}
RUNS = {"the post's": POST, "ours, padded": ["--no-pack"], "ours": []}


def write_model(folder: Path) -> None:
    """A random EXAONE, large enough for its projections to take most of the time, with the stand-in's tokenizer."""
    exaone.write_stand_in(folder)
    tokenizer = exaone.load_tokenizer(str(folder))
    config = exaone.ExaoneConfig(vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1792, num_layers=8,
                                 num_attention_heads=8, num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id)
    exaone.ExaoneForCausalLM(config).save_pretrained(folder)


class Clock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *args, **kwargs):
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.start)


def measure(arguments: list[str], watch: AbstractContextManager = nullcontext()) -> dict:
    """Train a few steps as train.py does, taken from all over an epoch, as chats of a length come together and the longest first.

    The first of them, in which memory is had and kernels are chosen, does not count.
    """
    args = train.parse_args(arguments)
    tokenizer = exaone.load_tokenizer(args.model)
    dataset = train.encode_chats(train.load_chats(args.data), tokenizer, exaone.find_end_tokens(args.model, tokenizer),
                                 args.max_length, args.loss)
    trainer = train.build_trainer(exaone.load_model(args.model, None, args.precision), tokenizer, dataset,
                                  *train.build_configs(args, None), args.group_by_length, args.pack)
    clock, collate, batches = Clock(), trainer.data_collator, []
    order, step = list(trainer._get_train_sampler()), args.batch_size * args.gradient_accumulation
    starts = [int((number + 0.5) * (len(order) // step) / args.max_steps) * step for number in range(args.max_steps)]
    trainer.train_dataset = trainer.train_dataset.select([row for start in starts for row in order[start:start + step]])
    trainer._get_train_sampler = lambda *_: SequentialSampler(trainer.train_dataset)

    def count(rows: list[dict]) -> dict:
        batch = collate(rows)
        batches.append((len(rows), sum(len(row["input_ids"]) for row in rows), batch["input_ids"].numel(),
                        int((batch["labels"] != -100).sum())))
        return batch

    trainer.data_collator = count
    trainer.add_callback(clock)
    with watch:
        trainer.train()
    sentences, tokens, computed, under_loss = map(sum, zip(*batches[args.gradient_accumulation:], strict=True))
    seconds = sum(clock.seconds[1:])
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"sentences_per_second": sentences / seconds, "tokens_per_second": tokens / seconds,
            "computed_per_token": computed / tokens, "under_loss": under_loss / tokens, "peak_bytes": peak}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="ID_OR_FOLDER")
    parser.add_argument("--data", type=Path, metavar="FILE", help="chats, as data_processing.py writes them")
    parser.add_argument("--steps", type=positive_int, default=7, metavar="N", help="of 16 chats; the first does not count (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="profile ours instead")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps 1 leaves none that counts")
    with tempfile.TemporaryDirectory() as folder:
        if not args.model:
            args.model = str(Path(folder) / "EXAONE-random")
            write_model(Path(args.model))
        if not args.data:
            args.data = Path(folder) / "train.jsonl"
            preprocessing_data(str(Path(__file__).resolve().parent.parent / "data" / "sample"), args.data)
        arguments = ["--model", args.model, "--data", str(args.data), "--checkpoint_dir", folder, "--max_steps", str(args.steps),
                     "--save_steps", "1000000"]
        if args.run and args.profile:
            profiler = profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available())
            measure([*arguments, *RUNS[args.run]], profiler)
            print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=60))
        elif args.run:
            print(json.dumps(measure([*arguments, *RUNS[args.run]])))
        elif args.profile:
            run_apart(args, "ours", "--profile")
        else:
            compare(args)


def run_apart(args: argparse.Namespace, name: str, *more: str, **kwargs) -> subprocess.CompletedProcess:
    """One of RUNS in a process of its own."""
    return subprocess.run([sys.executable, "-m", "tests.measure_training", "--model", args.model, "--data", str(args.data),
                           "--steps", str(args.steps), "--run", name, *more], check=True, text=True,
                          env=os.environ | KEEP_MEMORY | {"TQDM_DISABLE": "1"}, **kwargs)


def compare(args: argparse.Namespace) -> None:
    """Measure every run and print them side by side."""
    print(f"{'':14}{'sentences/s':>12}{'tokens/s':>10}{'computed':>10}{'loss':>8}{'peak':>10}")
    measured = {}
    for name in RUNS:
        run = measured[name] = json.loads(run_apart(args, name, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        print(f"{name:14}{run['sentences_per_second']:>12.2f}{run['tokens_per_second']:>10,.0f}{run['computed_per_token']:>10.0%}"
              f"{run['under_loss']:>8.0%}{run['peak_bytes'] / 1e9:>7.2f} GB")
    speed = {name: run["sentences_per_second"] for name, run in measured.items()}
    post, padded, ours = speed.values()
    print(f"ours is {ours / post:.2f} times as fast as the post's, {ours / padded:.2f} times as fast as without packing")


if __name__ == "__main__":
    run_script(main)
