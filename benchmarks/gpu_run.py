"""The steps of benchmarks/gpu.py."""

import argparse
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch

import train
from benchmarks.generation_run import load_generator, time_answers
from benchmarks.gpu import ROOT, TRAINING
from benchmarks.random_adapter import write_random_adapter
from benchmarks.random_exaone import SMALL, write_random_exaone, write_texts
from benchmarks.training import list_flags
from benchmarks.training_run import find_peak_bytes, measure
from data_processing import preprocessing_data
from ner.evaluation.answering import draw_rows
from ner.files import replace_folder
from ner.inference.recognizer import LocalRecognizer
from ner.model.exaone import ExaoneConfig
from ner.model.gpu import find_driver
from ner.model.hub import Base
from ner.model.loading import load_model
from ner.text.task import KLUE_TASK
from ner.training.plan import POST_LENGTHS

PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes")
MODEL = "EXAONE-random"  # in the folder of the inputs
TEXTS = 1024  # of each split
BATCH_SIZE = 64  # of evaluate_hub.py on CUDA


def describe_machine() -> dict[str, str]:
    """The card and its driver, if there is one, the versions and the commit."""
    if torch.cuda.is_available():
        device = {
            "gpu": torch.cuda.get_device_name(),
            "driver": find_driver() or "unknown",
            "cuda": torch.version.cuda,
        }
    else:
        device = {"cpu": platform.machine(), "threads": str(torch.get_num_threads())}
    return device | {name: version(name) for name in PACKAGES} | {"commit": find_commit()}


def find_commit() -> str:
    """The commit of this checkout, or "unknown" without git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def run_step(step: str, args: argparse.Namespace) -> dict:
    """The figures of a step. The steps can run in any order."""
    if step == "rehearsal":
        return rehearse()
    config = ExaoneConfig() if torch.cuda.is_available() else SMALL
    started = time.perf_counter()
    write_inputs(args.work_dir, config)
    written = time.perf_counter() - started
    if step == "loading":
        return measure_loading(args.work_dir) | {"writing_seconds": written}
    if step in TRAINING:
        return measure_training(args.work_dir, TRAINING[step], args.steps)
    if step == "answering, one at a time":
        return measure_answering(args.work_dir, args.single, 1)
    precision = "merged" if step.endswith("merged") else "nf4"
    return measure_answering(args.work_dir, args.num_samples, BATCH_SIZE, precision)


def rehearse() -> dict:
    """Run `make rehearse` with this Python. Returns the F1 of both kinds of answers."""
    start = time.perf_counter()
    command = ["make", "--old-file=install", "rehearse", f"RUN={sys.executable}"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)
    metrics = [
        json.loads((ROOT / "rehearsal" / name / "metrics.json").read_text(encoding="utf-8"))
        for name in ("evaluation", "marked-evaluation")
    ]
    f1 = [each["scores"]["seqeval"]["f1"]["value"] for each in metrics]
    return {"seconds": time.perf_counter() - start, "f1": f1}


def write_inputs(work_dir: Path, config: ExaoneConfig) -> None:
    """Write the model, an adapter, the texts and their chats, as far as they are missing."""
    model, adapter = work_dir / MODEL, work_dir / "adapter"
    if not model.is_dir():
        write_random_exaone(model, config)
    if not adapter.is_dir():
        lora = {"r": train.NEW_LORA["lora_r"], "lora_alpha": train.NEW_LORA["lora_alpha"]}
        with replace_folder(adapter, "adapter_config.json") as part:
            write_random_adapter(model, part, **lora)
    if not (work_dir / "train.jsonl").is_file():
        write_texts(work_dir / "texts", TEXTS)
        preprocessing_data(str(work_dir / "texts"), work_dir / "train.jsonl")


def measure_loading(work_dir: Path) -> dict:
    start = time.perf_counter()
    load_model(Base(str(work_dir / MODEL)))
    return {"seconds": time.perf_counter() - start, "peak_bytes": find_peak_bytes()}


def measure_training(work_dir: Path, run: str, steps: int) -> dict:
    model, data = work_dir / MODEL, work_dir / "train.jsonl"
    flags = list_flags(run, model, data, work_dir / "results", steps)
    return measure([*flags, "--logging_steps", "1"])


def measure_answering(
    work_dir: Path, num_samples: int, batch_size: int, precision: str = "nf4"
) -> dict:
    """Each answer has as many tokens as the mean gold answer, because a random model never ends."""
    recognizer = LocalRecognizer(
        Base(str(work_dir / MODEL)),
        precision,
        work_dir / "adapter",
        "adapter",
        KLUE_TASK,
        batch_size,
        max_new_tokens=POST_LENGTHS.answer,
    )
    rows = draw_rows(str(work_dir / "texts"), "validation", num_samples, seed=42)
    sentences = dict(enumerate("".join(tokens) for tokens in rows["tokens"]))
    generator = load_generator(recognizer)
    timing = time_answers(generator, recognizer, sentences, batch_size)
    return {"sentences_per_second": timing.speed, "peak_bytes": find_peak_bytes()}
