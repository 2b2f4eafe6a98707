"""The settings of a training run, decided by flags, by an adapter and by the machine."""

from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path

from ner.cli import InputError
from ner.model.adapter import read_adapter_config

CHATS_PER_STEP = 16
TARGETS = {"all": "all-linear", "qkv": ["q_proj", "k_proj", "v_proj"]}
# Where files come from and go. A resumed run may change these, and a run does not record them.
FILES = {
    *("data", "output_dir", "checkpoint_dir", "save_steps", "logging_steps"),
    *("model", "revision", "adapter"),
}
# Transformers' names for those that need no further package and no further setting.
OPTIMIZERS = [
    *("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", "ademamix"),
    *("adamw_8bit", "adamw_bnb_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit"),
    *("paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"),
    *(
        "paged_lion_32bit",
        "paged_lion_8bit",
        "rmsprop_bnb",
        "rmsprop_bnb_8bit",
        "rmsprop_bnb_32bit",
    ),
]
SCHEDULERS = [
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt"),
]


@dataclass(frozen=True)
class TrainingSettings:
    """One field for each flag of train.py, all of them decided."""

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
        return {name: value for name, value in sorted(asdict(self).items()) if name not in FILES}


def complete_settings(args: Namespace, adapter: Path | None, cuda: bool) -> TrainingSettings:
    """Decide what no flag decided. `adapter` is the one to train further, if any.

    Raises InputError if a flag contradicts the adapter.
    """
    fields = {name: value for name, value in vars(args).items() if name not in ("plan", "resume")}
    inherited = inherit_settings(args, adapter) if adapter else {}
    defaults = inherited | {
        "gradient_accumulation": CHATS_PER_STEP // args.batch_size,
        "pack": args.loss == "answer",
        "optim": "paged_adamw_32bit" if cuda else "adamw_torch",
        "activation_checkpointing": cuda,
    }
    for name, value in defaults.items():
        if fields[name] is None:
            fields[name] = value
    return TrainingSettings(**fields)


def inherit_settings(args: Namespace, adapter: Path) -> dict:
    """The settings that an adapter to be trained further decides: its LoRA and its base.

    Raises InputError if a flag says otherwise.
    """
    config = read_adapter_config(adapter)
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"--adapter {args.adapter}: this is a {config.get('peft_type')} adapter. Only LoRA can "
            "be trained further"
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


def split_batch(batch_size: int, accumulation: int, processes: int) -> tuple[int, int]:
    """Each process's micro-batch and accumulation. A step takes the same chats for any number.

    Raises InputError if the chats cannot be divided.
    """
    if accumulation % processes == 0:
        return batch_size, accumulation // processes
    if batch_size % processes == 0:
        return batch_size // processes, accumulation
    raise InputError(
        f"a step of {batch_size} x {accumulation} chats cannot be divided among {processes} "
        "processes. Choose another --batch_size or --gradient_accumulation"
    )
