"""A training run: its settings, and the record of all that decides its result.

The defaults of the settings are in train.py.
"""

import math
import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from ner.cli import InputError
from ner.files import read_json, write_json
from ner.model.adapter import RECORD, read_adapter_config, read_adapter_task
from ner.model.hub import Base, download_base, find_base
from ner.model.process import get_process
from ner.text.chats import describe_chats, find_task, source_path
from ner.text.task import check_data_labels

PACKAGES = ["torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets"]
CHATS_PER_STEP = 16
TARGETS = {"all": "all-linear", "qkv": ["q_proj", "k_proj", "v_proj"]}
# Where files come from and go. They are not part of the recipe. A run records its base model by
# commit and its adapter by fingerprint.
NOT_RECIPE = {
    *("data", "output_dir", "checkpoint_dir", "save_steps", "logging_steps"),
    *("model", "revision", "adapter"),
}
# A resumed run may also change these. The chats are compared by fingerprint, not by source, and
# checkpointing computes the same numbers again.
FREE_ON_RESUME = {
    *("source", "prompt", "labels", "system_prompt", "answer"),
    *("activation_checkpointing", "checkpoint_every"),
}
# Transformers' optimizers and schedules that need no extra package or setting.
OPTIMIZERS = [
    *("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", "ademamix"),
    *("adamw_8bit", "adamw_bnb_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit"),
    *("paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"),
    *("paged_lion_32bit", "paged_lion_8bit"),
    *("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"),
]
SCHEDULERS = [
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt"),
]


@dataclass(frozen=True)
class TrainingSettings:
    """The flags of train.py, with the defaults filled in."""

    data: Path
    output_dir: Path
    checkpoint_dir: Path
    save_steps: int
    logging_steps: int
    model: str
    revision: str | None
    adapter: str

    validation: int
    precision: str
    lora_targets: str | None
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    loss: str
    batch_size: int
    gradient_accumulation: int
    pack: bool
    learning_rate: float
    lr_scheduler: str
    warmup: float
    epochs: float
    max_steps: int
    max_length: int
    optim: str
    weight_decay: float
    max_grad_norm: float
    group_by_length: bool
    activation_checkpointing: bool
    checkpoint_every: int
    seed: int

    @property
    def chats_per_step(self) -> int:
        return self.batch_size * self.gradient_accumulation

    def recipe(self) -> dict:
        """The settings that decide the result, by name."""
        return {
            name: value for name, value in sorted(asdict(self).items()) if name not in NOT_RECIPE
        }


def complete_settings(args: Namespace, adapter: Path | None, cuda: bool) -> TrainingSettings:
    """Fill in the settings that no flag sets. `adapter` is the one to train further, if any.

    A resumed run keeps its optimizer. Raises InputError if a flag contradicts the adapter.
    """
    fields = {name: value for name, value in vars(args).items() if name not in ("plan", "resume")}
    inherited = inherit_settings(args, adapter) if adapter else {}
    optim = "adamw_torch_fused" if cuda else "adamw_torch"
    if args.resume and (earlier := read_json(args.checkpoint_dir / RECORD)):
        optim = earlier["settings"]["optim"]
    defaults = inherited | {
        "gradient_accumulation": CHATS_PER_STEP // args.batch_size,
        "pack": args.loss == "answer",
        "optim": optim,
        "activation_checkpointing": cuda,
    }
    for name, value in defaults.items():
        if fields[name] is None:
            fields[name] = value
    return TrainingSettings(**fields)


def inherit_settings(args: Namespace, adapter: Path) -> dict:
    """The settings of an adapter to be trained further: its LoRA and its base.

    Raises InputError if a flag contradicts them.
    """
    config = read_adapter_config(adapter)
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"--adapter {args.adapter}: its type is {config.get('peft_type')}. Only LoRA can be "
            "trained further"
        )
    if args.lora_targets:
        raise InputError(
            f"--lora_targets {args.lora_targets}: the adapter {args.adapter} keeps its own "
            "targets. Leave the flag out"
        )
    lora = {
        "lora_r": config["r"],
        "lora_alpha": config["lora_alpha"],
        "lora_dropout": config["lora_dropout"],
    }
    for name, value in lora.items():
        if getattr(args, name) not in (None, value):
            raise InputError(
                f"--{name} {getattr(args, name)}: the adapter {args.adapter} has {value} and keeps "
                "it. Leave the flag out"
            )
    if args.model:
        return lora
    return lora | {
        "model": config["base_model_name_or_path"],
        "revision": config.get("revision"),
    }


def check_task(settings: TrainingSettings, data: dict) -> None:
    """Check that the labels and the prompt of the chats are known.

    `data` comes from `describe_chats`. If they are not known, prints a note, or raises InputError
    if validation needs them.
    """
    if find_task(data):
        return
    fault = f"{settings.data}: its system prompt and labels are not known"
    advice = (
        f"Copy {source_path(settings.data).name}, which records them, to the same folder, or write "
        "the chats again: python data_processing.py"
    )
    if settings.validation:
        raise InputError(f"{fault}, so --validation cannot score the answers. {advice}")
    get_process().print(f"note: {fault}, so later steps will assume KLUE's. {advice}")


def check_steps(settings: TrainingSettings, chats: int) -> None:
    """Check that a run has a step with a learning rate above 0. Raises InputError."""
    steps = settings.max_steps
    if steps < 0:
        steps = math.ceil(settings.epochs * math.ceil(chats / settings.chats_per_step))
    has_warmup = settings.warmup and settings.lr_scheduler != "constant"
    if steps == 1 and has_warmup and settings.learning_rate:
        raise InputError(
            "the run is one step, whose learning rate is 0 because of the warmup. Train for more "
            "steps (--epochs or --max_steps), or add --warmup 0"
        )


def split_batch(batch_size: int, accumulation: int, processes: int) -> tuple[int, int]:
    """Divide a step among processes. Returns the micro-batch size and accumulation of each.

    A step has the same chats for any number of processes. Raises InputError if it cannot be
    divided.
    """
    if accumulation % processes == 0:
        return batch_size, accumulation // processes
    if batch_size % processes == 0:
        return batch_size // processes, accumulation
    raise InputError(
        f"a step of {batch_size} x {accumulation} chats cannot be divided among {processes} "
        "processes. Choose another --batch_size or --gradient_accumulation"
    )


def describe_run(settings: TrainingSettings, base: Base, adapter: Path | None = None) -> dict:
    """Everything that decides a run's result: base, data, settings, library versions, adapter.

    Raises InputError if the adapter was not trained for the labels of the data.
    """
    versions = {"python": sys.version.split()[0]}
    versions |= {package: version(package) for package in PACKAGES}
    run = {
        "base": {"name": base.name, "revision": base.revision},
        "data": describe_chats(settings.data),
        "settings": settings.recipe() | {"processes": get_process().num_processes},
        "versions": versions,
    }
    if adapter:
        from ner.model.tensors import hash_adapter

        trained_for, task = read_adapter_task(adapter), find_task(run["data"])
        if trained_for and task:
            check_data_labels(trained_for, task.labels, str(settings.data))
        run["adapter"] = {"source": settings.adapter, "sha256": hash_adapter(adapter)}
    return run


def find_run_base(settings: TrainingSettings, resume: bool) -> Base:
    """The base model. A resumed run keeps the commit that it began with."""
    revision = settings.revision
    earlier = read_json(settings.checkpoint_dir / RECORD) if resume else None
    if earlier and not revision and earlier["base"]["name"] == settings.model:
        revision = earlier["base"]["revision"]
    return find_base(settings.model, revision)


def begin_run(settings: TrainingSettings, base: Base, run: dict) -> None:
    """Record a run and download its base model, once for all processes."""
    process = get_process()
    if process.is_main_process:
        write_json(settings.checkpoint_dir / RECORD, run)
    with process.main_process_first():
        download_base(base)


def flatten_run(run: dict) -> dict:
    """A run's fields by dotted name, without those that a resumed run may change.

    The result has the number of chats per step, not their division into micro-batches.
    """
    settings = dict(run["settings"])
    batch_size, accumulation = settings.pop("batch_size"), settings.pop("gradient_accumulation")
    settings["chats per step"] = batch_size * accumulation
    return {
        f"{part}.{name}": value
        for part, fields in (run | {"settings": settings}).items()
        for name, value in fields.items()
        if name not in FREE_ON_RESUME
    }
