"""Step 2: fine-tune a causal language model on the chats with QLoRA. The default is EXAONE 3.0.

Reads `data/train.jsonl` (step 1). Writes checkpoints and TensorBoard logs to `results`, then the
adapter, the tokenizer and `training.json` (settings, library versions, revisions, the data's
fingerprint) to `EXAONE-3.0-7.8B-KLUE-NER-LoRA`. Needs one CUDA GPU of 24 GB. Small models also
train on a CPU.

    python train.py
    python train.py --resume        continue from the last complete checkpoint
    python train.py --adapter ID    train an adapter further, instead of a new one
    python train.py --plan          memory, computed without a GPU and without loading weights
"""

import argparse
from pathlib import Path

from ner.cli import build_parser, fraction, non_negative_float, positive_int, run_script
from ner.files import check_replaceable, check_writable
from ner.model.adapter import find_adapter
from ner.model.hub import download_base
from ner.model.names import ADAPTER, EXAONE
from ner.model.process import get_process, has_cuda
from ner.text.chats import load_chats
from ner.training.records import (
    RECORD,
    check_unused,
    describe_run,
    find_checkpoint,
    find_run_base,
    write_record,
)
from ner.training.settings import (
    CHATS_PER_STEP,
    NEW_LORA,
    OPTIMIZERS,
    SCHEDULERS,
    TARGETS,
    complete_settings,
)


def add_file_flags(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files")
    files.add_argument(
        "--data", type=Path, default=Path("data/train.jsonl"), metavar="FILE", help="chats"
    )
    files.add_argument(
        "--validation",
        type=positive_int,
        default=0,
        metavar="N",
        help="hold out N chats, score them at every checkpoint and keep the best adapter "
        "(default: none)",
    )
    files.add_argument(
        "--output_dir",
        type=Path,
        default=Path(ADAPTER),
        metavar="DIR",
        help="where to write the adapter; replaces an adapter there",
    )
    files.add_argument(
        "--checkpoint_dir",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="checkpoints and TensorBoard logs",
    )
    files.add_argument(
        "--save_steps", type=positive_int, default=500, metavar="N", help="steps a checkpoint"
    )
    files.add_argument(
        "--logging_steps", type=positive_int, default=50, metavar="N", help="steps a log line"
    )
    files.add_argument(
        "--resume", action="store_true", help="continue from the last complete checkpoint"
    )
    files.add_argument(
        "--plan", action="store_true", help="print the memory that training takes, and stop"
    )


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    base = parser.add_argument_group("base model")
    base.add_argument(
        "--model",
        metavar="ID_OR_FOLDER",
        help=f"any causal LM with a chat template (default: {EXAONE}, or the adapter's base)",
    )
    base.add_argument(
        "--revision",
        metavar="REV",
        help="its branch, tag or commit on the hub (default: the newest, or the adapter's)",
    )
    base.add_argument(
        "--precision",
        choices=["nf4", "bfloat16", "float32"],
        default="nf4",
        help="nf4 is QLoRA; the others train LoRA on the unquantized model",
    )
    lora = parser.add_argument_group("LoRA")
    lora.add_argument(
        "--adapter",
        default="none",
        metavar="ID_OR_FOLDER",
        help="train this one further, with its own targets, rank, scale and dropout",
    )
    lora.add_argument(
        "--lora_targets",
        choices=TARGETS,
        help="projections to adapt: all seven of a layer, or the three that the post reached "
        f"(default: {NEW_LORA['lora_targets']})",
    )
    lora.add_argument(
        "--lora_r", type=positive_int, metavar="R", help=f"rank (default: {NEW_LORA['lora_r']})"
    )
    lora.add_argument(
        "--lora_alpha",
        type=positive_int,
        metavar="A",
        help=f"scale, as alpha / rank (default: {NEW_LORA['lora_alpha']})",
    )
    lora.add_argument(
        "--lora_dropout",
        type=fraction,
        metavar="P",
        help=f"dropout (default: {NEW_LORA['lora_dropout']})",
    )


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    recipe = parser.add_argument_group("recipe (the post's, except loss, micro-batches, packing)")
    recipe.add_argument(
        "--loss",
        choices=["answer", "chat"],
        default="answer",
        help="learn the answer and its end marker, or the whole chat as in the post",
    )
    recipe.add_argument(
        "--batch_size", type=positive_int, default=16, metavar="N", help="chats a micro-batch"
    )
    recipe.add_argument(
        "--gradient_accumulation",
        type=positive_int,
        metavar="N",
        help="micro-batches a step, shared among processes (default: for 16 chats a step)",
    )
    recipe.add_argument(
        "--pack",
        action=argparse.BooleanOptionalAction,
        help="compute the system prompt once a micro-batch and pad nothing; changes no gradient "
        "except through dropout (default: yes, unless --loss chat)",
    )
    recipe.add_argument(
        "--learning_rate", type=non_negative_float, default=2e-4, metavar="LR", help="peak rate"
    )
    recipe.add_argument(
        "--lr_scheduler", choices=SCHEDULERS, default="cosine", metavar="NAME", help="schedule"
    )
    recipe.add_argument(
        "--warmup",
        type=non_negative_float,
        default=0.03,
        metavar="SHARE",
        help="warm-up steps, or below 1 their share",
    )
    recipe.add_argument(
        "--epochs", type=non_negative_float, default=1, metavar="N", help="passes over the data"
    )
    recipe.add_argument(
        "--max_steps",
        type=positive_int,
        default=-1,
        metavar="N",
        help="stop after N steps, whatever --epochs (default: no limit)",
    )
    recipe.add_argument(
        "--max_length",
        type=positive_int,
        default=1024,
        metavar="N",
        help="tokens; leaves longer chats out",
    )
    recipe.add_argument(
        "--optim",
        choices=OPTIMIZERS,
        metavar="NAME",
        help="optimizer (default: paged_adamw_32bit on CUDA, else adamw_torch)",
    )
    recipe.add_argument(
        "--weight_decay", type=non_negative_float, default=0.001, metavar="W", help="weight decay"
    )
    recipe.add_argument(
        "--max_grad_norm", type=non_negative_float, default=0.3, metavar="G", help="clipping"
    )
    recipe.add_argument(
        "--group_by_length",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="batch chats of similar length",
    )
    recipe.add_argument(
        "--activation_checkpointing",
        action=argparse.BooleanOptionalAction,
        help="less memory, more time (default: yes on CUDA)",
    )
    recipe.add_argument(
        "--checkpoint_every",
        type=positive_int,
        default=1,
        metavar="K",
        help="checkpoint one layer in K; a higher K takes more memory and less time",
    )
    recipe.add_argument(
        "--seed", type=int, default=42, metavar="N", help="seed of adapter, order and dropout"
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_file_flags(parser)
    add_model_flags(parser)
    add_recipe_flags(parser)
    args = parser.parse_args(argv)
    if args.gradient_accumulation is None and CHATS_PER_STEP % args.batch_size:
        parser.error(
            f"--batch_size {args.batch_size} does not divide the {CHATS_PER_STEP} chats of a step: "
            "give --gradient_accumulation too"
        )
    if not args.epochs:
        parser.error("--epochs 0 trains nothing")
    if args.plan and args.adapter != "none":
        parser.error("--plan is for a new adapter: leave --adapter out")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.plan:
        from ner.training.plan import print_plan

        print_plan(complete_settings(args, adapter=None, cuda=True))
        return

    # Check files and flags first: PyTorch, PEFT and TRL take seconds to import.
    chats = load_chats(args.data)
    check_replaceable(args.output_dir, "adapter_config.json")
    check_writable(args.checkpoint_dir / RECORD)
    if not args.resume:
        check_unused(args.checkpoint_dir)
    adapter = find_adapter(args.adapter)
    settings = complete_settings(args, adapter, has_cuda())
    base = find_run_base(settings, args.resume)
    run = describe_run(settings, base, adapter)
    checkpoint = find_checkpoint(settings.checkpoint_dir, run) if args.resume else None

    # Then the chats and the machine, before the download.
    from ner.model.loading import load_config, load_model
    from ner.model.lora import fill_adapter
    from ner.model.tokenizer import find_end_tokens, load_tokenizer
    from ner.training.encoding import encode_chats, hold_out
    from ner.training.faults import explain_failures
    from ner.training.machine import check_machine
    from ner.training.memory import measure_lengths
    from ner.training.packing_check import check_packing
    from ner.training.saving import save_adapter
    from ner.training.trainer import build_trainer, prepare_lora, run_training
    from ner.training.validation import ScoreValidation

    chats, validation_chats = hold_out(chats, settings.validation, settings.seed)
    tokenizer = load_tokenizer(base)
    end_tokens = find_end_tokens(base, tokenizer)
    dataset = encode_chats(chats, tokenizer, end_tokens, settings.max_length, settings.loss)
    config = load_config(base)
    lora, tensors = prepare_lora(settings, base, adapter, config.model_type)
    check_machine(settings, config, lora, measure_lengths(dataset))

    process = get_process()
    if process.is_main_process:
        write_record(settings.checkpoint_dir, run)
    with process.main_process_first():
        download_base(base)
    model = load_model(base, settings.precision)
    scorers = []
    if validation_chats:
        best = settings.checkpoint_dir / "best"
        scorers.append(ScoreValidation(validation_chats, tokenizer, end_tokens, best))
    trainer = build_trainer(model, tokenizer, dataset, settings, lora, scorers)
    if adapter:
        fill_adapter(trainer.model, tensors, adapter)
    with explain_failures(trainer, settings):
        if settings.pack:
            check_packing(trainer)
        run_training(trainer, checkpoint)
        if process.is_main_process:
            for scorer in scorers:
                scorer.restore_best(trainer.model)
            save_adapter(trainer, run, settings.output_dir)


if __name__ == "__main__":
    run_script(main)
