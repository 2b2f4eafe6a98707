"""Settings, encoded chats and trainers as train.py makes them, and the flags of short runs."""

import json
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

import train
from ner.model.adapter import find_adapter
from ner.model.hub import Base
from ner.model.loading import load_model
from ner.model.tokenizer import find_end_tokens, load_tokenizer
from ner.text.chats import load_chats
from ner.training.encoding import encode_chats
from ner.training.run import TrainingSettings, complete_settings
from ner.training.trainer import ChatTrainer, build_config, build_lora, build_trainer

WEIGHTS = Path("adapter", "adapter_model.safetensors")
# Steps of four chats. 24 chats make six steps per epoch.
SMALL_STEPS = ["--batch_size", "4", "--gradient_accumulation", "1"]
# Runs with these settings differ by the order of sums alone.
EXACT = [
    *("--precision", "float32", "--lora_dropout", "0", "--optim", "sgd", "--learning_rate", "1"),
    *("--warmup", "0", "--max_grad_norm", "1e9", "--logging_steps", "1"),
]
SAVE_EVERY_STEP = [*SMALL_STEPS, "--save_steps", "1", "--logging_steps", "1"]


def build_command(base: Path, chats_file: Path, folder: Path, *flags: str) -> list[str]:
    """Arguments of a run that writes `adapter` and `results` into a folder."""
    return [
        *("--model", str(base), "--data", str(chats_file)),
        *("--output_dir", str(folder / "adapter"), "--checkpoint_dir", str(folder / "results")),
        *flags,
    ]


def make_settings(*flags: str, cuda: bool = False) -> TrainingSettings:
    args = train.parse_args(list(flags))
    return complete_settings(args, find_adapter(args.adapter), cuda)


def write_uneven_chats(chats_file: Path, path: Path) -> Path:
    """Write chats of which every fifth has a sentence 16 times as long. Returns `path`."""
    lines = []
    for number, line in enumerate(chats_file.read_text(encoding="utf-8").splitlines()):
        chat = json.loads(line)
        if number % 5 == 0:
            chat["messages"][1]["content"] *= 16
        lines.append(json.dumps(chat, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def encode_data(settings: TrainingSettings) -> tuple[Dataset, PreTrainedTokenizerBase]:
    base = Base(settings.model)
    tokenizer = load_tokenizer(base)
    end_tokens = find_end_tokens(base, tokenizer)
    chats = load_chats(settings.data)
    dataset = encode_chats(chats, tokenizer, end_tokens, settings.max_length, settings.loss)
    return dataset, tokenizer


def make_trainer(settings: TrainingSettings) -> ChatTrainer:
    """The trainer of a new adapter, before its first step."""
    base = Base(settings.model)
    dataset, tokenizer = encode_data(settings)
    model = load_model(base, settings.precision)
    lora = build_lora(settings, base)
    return build_trainer(model, tokenizer, dataset, settings, build_config(settings), lora)
