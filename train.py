"""Step 2: fine-tune a causal language model on the chats with QLoRA. The default is EXAONE 3.0.

Reads `data/train.jsonl` (step 1). Writes checkpoints and TensorBoard logs to `results`, then the
adapter, the tokenizer and `training.json` (settings, library versions, revisions, the data's
fingerprint) to `EXAONE-3.0-7.8B-KLUE-NER-LoRA`. For EXAONE, use one CUDA GPU of 24 GB. A CPU is
enough for models of up to a billion parameters. It also trains larger ones, slowly.

    python train.py
    python train.py --resume        continue from the last complete checkpoint
    python train.py --adapter ID    train an adapter further, instead of a new one
    python train.py --plan          memory, computed without a GPU and without loading weights
"""

import argparse
from pathlib import Path

from ner.cli import build_parser, fraction, non_negative_float, positive_int, run_script
from ner.files import check_replaceable, check_writable
from ner.model.adapter import RECORD, find_adapter
from ner.model.names import ADAPTER, EXAONE
from ner.model.process import get_process
from ner.text.chats import find_task, load_chats
from ner.training.checkpoints import check_unused, find_checkpoint
from ner.training.run import (
    CHATS_PER_STEP,
    OPTIMIZERS,
    SCHEDULERS,
    TARGETS,
    begin_run,
    check_steps,
    check_task,
    complete_settings,
    describe_run,
    find_run_base,
)

NEW_LORA = {"lora_targets": "all", "lora_r": 32, "lora_alpha": 16, "lora_dropout": 0.05}


def add_file_flags(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument_group("files").add_argument
    flag("--data", type=Path, default=Path("data/train.jsonl"), help="the chats of step 1")
    flag("--output_dir", type=Path, default=Path(ADAPTER), help="adapter; an old one is replaced")
    flag("--checkpoint_dir", type=Path, default=Path("results"), help="checkpoints and logs")
    flag("--save_steps", type=positive_int, default=500, help="steps between checkpoints")
    flag("--logging_steps", type=positive_int, default=50, help="steps between log lines")
    flag("--resume", action="store_true", help="continue from the last complete checkpoint")
    flag("--plan", action="store_true", help="print the memory that training takes, and stop")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument_group("base model and adapter").add_argument
    flag("--model", help=f"a causal LM with a chat template (default: {EXAONE} or --adapter's)")
    flag("--revision", help="its branch, tag or commit (default: the newest or --adapter's)")
    flag(
        "--precision",
        choices=["nf4", "bfloat16", "float32"],
        default="nf4",
        help="nf4 is QLoRA; the others train LoRA on the unquantized model",
    )
    flag(
        "--adapter",
        default="none",
        help="train this one further, on its own base and with its own LoRA settings",
    )
    flag(
        "--lora_targets",
        choices=TARGETS,
        help="projections to adapt: all seven of a layer, or the three that the post reached "
        f"(default: {NEW_LORA['lora_targets']})",
    )
    flag("--lora_r", type=positive_int, help=f"rank (default: {NEW_LORA['lora_r']})")
    flag("--lora_alpha", type=positive_int, help=f"scale (default: {NEW_LORA['lora_alpha']})")
    flag("--lora_dropout", type=fraction, help=f"(default: {NEW_LORA['lora_dropout']})")


def add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "recipe (the post's, except loss, micro-batches, packing and optimizer)"
    )
    flag, yes_or_no = group.add_argument, argparse.BooleanOptionalAction
    flag(
        "--loss",
        choices=["answer", "chat"],
        default="answer",
        help="learn the answer and its end marker, or the whole chat as in the post",
    )
    flag("--batch_size", type=positive_int, default=16, help="chats in a micro-batch")
    flag(
        "--gradient_accumulation",
        type=positive_int,
        help="micro-batches per step, shared among processes (default: 16 chats per step)",
    )
    flag(
        "--pack",
        action=yes_or_no,
        help="compute the system prompt once per micro-batch, without padding (default: yes, "
        "unless --loss chat)",
    )
    flag("--learning_rate", type=non_negative_float, default=2e-4, help="peak learning rate")
    flag(
        "--lr_scheduler",
        choices=SCHEDULERS,
        default="cosine",
        metavar="NAME",
        help="learning-rate schedule",
    )
    flag(
        "--warmup",
        type=non_negative_float,
        default=0.03,
        help="steps; below 1, a share of all steps",
    )
    flag("--epochs", type=non_negative_float, default=1, help="passes over the data")
    flag("--max_steps", type=positive_int, default=-1, help="stop after (default: no limit)")
    flag("--max_length", type=positive_int, default=1024, help="tokens; drops longer chats")
    flag(
        "--optim",
        choices=OPTIMIZERS,
        metavar="NAME",
        help="optimizer, by Transformers' name (default: adamw_torch on a CPU, adamw_torch_fused "
        "on a card with room, else the post's paged_adamw_32bit)",
    )
    flag("--weight_decay", type=non_negative_float, default=0.001, help="weight decay")
    flag("--max_grad_norm", type=non_negative_float, default=0.3, help="gradient clipping")
    flag("--group_by_length", action=yes_or_no, default=True, help="batch similar lengths")
    flag("--activation_checkpointing", action=yes_or_no, help="save memory (default: on CUDA)")
    flag(
        "--checkpoint_every",
        type=positive_int,
        default=1,
        help="checkpoint every Nth layer. Higher values take more memory and less time",
    )
    flag(
        "--validation",
        type=positive_int,
        default=0,
        help="hold out this many chats, score them at every checkpoint, and keep the best adapter "
        "and the confidence threshold with the best F1",
    )
    flag("--seed", type=int, default=42, help="seed of adapter, order and dropout")


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
    if args.adapter == "none":  # else the adapter decides
        for name, value in ({"model": EXAONE} | NEW_LORA).items():
            if getattr(args, name) is None:
                setattr(args, name, value)
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
    from ner.model.gpu import has_cuda

    settings = complete_settings(args, adapter, has_cuda())
    base = find_run_base(settings, args.resume)
    run = describe_run(settings, base, adapter)
    check_task(settings, run["data"])
    checkpoint = find_checkpoint(settings.checkpoint_dir, run) if args.resume else None

    # Then the chats and the machine, before the download.
    from ner.model.loading import load_config, load_model
    from ner.model.lora import fill_adapter
    from ner.model.tokenizer import find_end_tokens, load_tokenizer
    from ner.training.encoding import encode_chats, hold_out
    from ner.training.faults import explain_failures
    from ner.training.machine import check_machine, choose_optimizer
    from ner.training.memory import measure_lengths
    from ner.training.packing_check import check_packing
    from ner.training.saving import save_adapter
    from ner.training.trainer import build_config, build_trainer, prepare_lora, run_training
    from ner.training.validation import ScoreValidation

    chats, validation_chats = hold_out(chats, settings.validation, settings.seed)
    tokenizer = load_tokenizer(base)
    end_tokens = find_end_tokens(base, tokenizer)
    dataset = encode_chats(chats, tokenizer, end_tokens, settings.max_length, settings.loss)
    check_steps(settings, len(dataset))
    model_config = load_config(base)
    lora, tensors = prepare_lora(settings, base, adapter, model_config.model_type)
    needed = check_machine(settings, model_config, lora, measure_lengths(dataset), base.download)
    if args.optim is None and checkpoint is None:
        settings = choose_optimizer(settings, needed)
        run = describe_run(settings, base, adapter)
    config = build_config(settings)

    begin_run(settings, base, run)
    model = load_model(base, settings.precision)
    scorer = None
    if validation_chats:
        best = settings.checkpoint_dir / "best"
        task = find_task(run["data"])
        scorer = ScoreValidation(validation_chats, task, tokenizer, end_tokens, best)
    callbacks = [scorer] if scorer else []
    trainer = build_trainer(model, tokenizer, dataset, settings, config, lora, callbacks)
    if adapter:
        fill_adapter(trainer.model, tensors, adapter)
    with explain_failures(trainer, settings):
        if settings.pack:
            check_packing(trainer)
        run_training(trainer, checkpoint)
        if get_process().is_main_process:
            best = scorer.restore_best(trainer.model) if scorer else {}
            # A run that an earlier version began has no threshold.
            save_adapter(trainer, run, settings.output_dir, best.get("min_confidence"))


if __name__ == "__main__":
    run_script(main)
