"""Step 2: fine-tune a causal language model on the chats with QLoRA; EXAONE-3.0-7.8B-Instruct by default.

Reads `data/train.jsonl` (step 1). Writes checkpoints and TensorBoard logs to `results`, then the adapter,
the tokenizer and `training.json` (settings, library versions, revisions, the data's fingerprint) to
`EXAONE-3.0-7.8B-KLUE-NER-LoRA`. One CUDA GPU of 24 GB; small models train on a CPU too.

    python train.py
    python train.py --resume        go on from the last whole checkpoint after an interruption
    python train.py --adapter ID    train an adapter further, instead of a new one
    python train.py --plan          memory and time on an RTX 4090, computed; needs no GPU and loads no weights
"""
# exaone before peft: it quiets what bitsandbytes logs when peft imports it.
from exaone import (ADAPTER, EXAONE, ExaoneConfig, build_empty, check_base, check_device, download_base,
                    estimate_weight_bytes, explain_hub_errors, fill_adapter, find_adapter, find_end_tokens,
                    find_projections, get_process, hash_adapter, is_out_of_memory, load_config, load_model, load_tokenizer,
                    read_adapter, read_adapter_config)

import argparse
import copy
import errno
import functools
import hashlib
import json
import math
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import torch
from accelerate.utils import send_to_device
from bitsandbytes.nn import Linear4bit
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm
from transformers import (AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel,
                          PreTrainedTokenizerBase, TrainerCallback, TrainerState)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from data_processing import (InputError, check_replaceable, check_writable, describe_changes, find_room, json_to_bio,
                             positive_int, replace_folder, run_script, source_path, write_whole)
from evaluate_hub import generate_answers
from report import compute_f1

NEW_LORA = {"lora_targets": "all", "lora_r": 32, "lora_alpha": 16, "lora_dropout": 0.05}
PACKAGES = ["torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets"]
TARGETS = {"all": "all-linear", "qkv": ["q_proj", "k_proj", "v_proj"]}
# These may differ between a run and its resumption: they decide where things go, not what is learned.
FREE_ON_RESUME = {"resume", "plan", "data", "model", "revision", "adapter", "output_dir", "checkpoint_dir", "save_steps", "logging_steps"}

# Dense, summed in float32 (NVIDIA's Ada whitepaper, appendix A).
RTX_4090_FLOPS = {"nf4": 165.2e12, "bfloat16": 165.2e12, "float32": 82.6e12}  # a second
RTX_4090_BANDWIDTH = 1008e9  # bytes a second


def load_chats(path: Path) -> list[list[dict]]:
    """The chats of a JSON-lines file: lists of messages, ending with the assistant's answer.

    Raises InputError with file and line if one is malformed.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found. Write it first: python data_processing.py")
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}). Write it anew: python data_processing.py") from None
    if not text:
        raise InputError(f"{path}: holds no chat. Write it anew: python data_processing.py")
    chats = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            messages = json.loads(line)["messages"]
            roles = [message["role"] for message in messages]
            contents = [message["content"] for message in messages]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: expected {{\"messages\": [{{\"role\": …, \"content\": …}}, …]}} "
                             f"({type(error).__name__}: {error}). Write the file anew: python data_processing.py") from None
        if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
            raise InputError(f"{path}:{number}: expected the roles system, user, assistant, found {', '.join(map(str, roles))}")
        if not all(isinstance(content, str) for content in contents):
            raise InputError(f"{path}:{number}: every content must be a string")
        chats.append(messages)
    return chats


def encode_chat(messages: list[dict], tokenizer: PreTrainedTokenizerBase, end_tokens: list[int], loss: str = "answer") -> dict:
    """Token ids of a chat up to its end marker, and labels that cover the answer and that marker, or the whole `chat`.

    Returns `input_ids` and `labels`, two lists of one length; -100 labels carry no loss. What the template
    writes after the marker (EXAONE's newline) is left off: at inference nothing follows it.
    Raises InputError if the chat template does not lead from the prompt to the answer to an end marker.
    """
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
    chat = tokenizer.apply_chat_template(messages)["input_ids"]
    if chat[:len(prompt)] != prompt:
        raise InputError("the chat template writes a prompt differently once an answer follows it: the model would "
                         "learn to answer a prompt that it never sees. Choose another --model")
    ends = [i for i in range(len(prompt), len(chat)) if chat[i] in end_tokens]
    if not ends:
        raise InputError("the chat template writes no end marker after an answer: the model would never learn to "
                         "stop. Choose another --model")
    length, start = ends[0] + 1, len(prompt) if loss == "answer" else 0
    return {"input_ids": chat[:length], "labels": [-100] * start + chat[start:length]}


def hold_out(chats: list[list[dict]], size: int, seed: int) -> tuple[list[list[dict]], list[list[dict]]]:
    """Chats to train on, and `size` others to score. A sentence that is scored is not trained on, wherever else it stands.

    Raises InputError if nothing would be left.
    """
    if not size:
        return chats, []
    held = set(torch.randperm(len(chats), generator=torch.Generator().manual_seed(seed))[:size].tolist())
    asked = {chats[i][-2]["content"] for i in held}
    rest = [chat for chat in chats if chat[-2]["content"] not in asked]
    if not rest:
        raise InputError(f"--validation {size} leaves no chat to train on, of {len(chats):,}")
    get_process().print(f"validation: {len(held):,} chats held out, and {len(chats) - len(rest) - len(held):,} that ask the same")
    return rest, [chats[i] for i in sorted(held)]


def encode_chats(chats: list[list[dict]], tokenizer: PreTrainedTokenizerBase, end_tokens: list[int],
                 max_length: int, loss: str = "answer") -> Dataset:
    """The training set. Chats over `max_length` tokens are left out and counted: cut answers teach cut answers."""
    rows = [encode_chat(messages, tokenizer, end_tokens, loss)
            for messages in tqdm(chats, desc="tokens", unit="chat", disable=not get_process().is_main_process)]
    kept = [row for row in rows if len(row["input_ids"]) <= max_length]
    if not kept:
        raise InputError(f"every chat is longer than --max_length {max_length} tokens "
                         f"(the shortest has {min(len(row['input_ids']) for row in rows)})")
    tokens = sum(len(row["input_ids"]) for row in kept)
    answers = sum(label != -100 for row in kept for label in row["labels"])
    get_process().print(f"chats: {len(kept):,}, {tokens / len(kept):.0f} tokens each, {answers / tokens:.0%} of them under the loss; "
          f"{len(rows) - len(kept):,} left out as longer than {max_length} tokens")
    return Dataset.from_list(kept)


def count_shared(chats: list[list[int]], labels: list[list[int]]) -> int:
    """Tokens that all chats begin with, but for the one before the first under the loss: it predicts it, so it is the chat's own."""
    first = min(next(i for i, label in enumerate(row) if label != -100) for row in labels)
    return min(len(os.path.commonprefix(chats)), max(first - 1, 0))


def pack_chats(rows: list[dict]) -> dict[str, torch.Tensor]:
    """A micro-batch as one sequence of T tokens, in which what all its chats begin with, the system prompt, stands once.

    Each chat sees that prefix and itself, at the positions it would have alone: without dropout, whose draws on the prefix
    its chats share, loss and gradients are those of the padded batch, at less than half its tokens. Nothing is padded. Returns `input_ids`, `labels` and `position_ids`
    (1, T), and what `attend_packed` needs: `chat_lengths`, tokens of each chat after the prefix, and a boolean
    `attention_mask` (1, 1, R, P + R), queries by keys, for the longest of them, R, after the prefix, P.
    """
    chats = [row["input_ids"] for row in rows]
    shared = count_shared(chats, [row["labels"] for row in rows])
    rests = [len(chat) - shared for chat in chats]
    input_ids = chats[0][:shared] + [token for chat in chats for token in chat[shared:]]
    labels = [-100] * shared + [label for row in rows for label in [-100, *row["labels"][shared + 1:]]]
    positions = [*range(shared), *(shared + i for rest in rests for i in range(rest))]
    seen = torch.ones(1, 1, max(rests), shared + max(rests), dtype=torch.bool).tril(shared)
    return {"input_ids": torch.tensor([input_ids]), "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions]), "attention_mask": seen, "chat_lengths": rests}


def attend_packed(module, query, key, value, attention_mask, chat_lengths: list[int] | None = None, **kwargs):
    """Transformers' attention by PyTorch, which over `pack_chats`'s sequence computes only what a chat sees.

    Under one mask over the whole sequence each chat would be held against all others, in vain: for 16 chats of 60 tokens
    after a prefix of 85 that is seven times as much.
    """
    attend = functools.partial(sdpa_attention_forward, module, **kwargs)
    if chat_lengths is None:
        return attend(query, key, value, attention_mask)
    shared = query.shape[2] - sum(chat_lengths)

    def align(states: torch.Tensor) -> torch.Tensor:
        """A chat a row, padded at its end, where the mask hides it: (1, heads, T, size) to (chats, heads, R, size)."""
        return torch.stack([pad(chat, (0, 0, 0, max(chat_lengths) - chat.shape[1]))
                            for chat in states[0, :, shared:].split(chat_lengths, dim=1)])

    prefix = [states[:, :, :shared].clone() for states in (query, key, value)]  # a view kept for backward would keep the whole
    keys_and_values = [torch.cat([before.expand(len(chat_lengths), -1, -1, -1), align(states)], dim=2)
                       for before, states in zip(prefix[1:], (key, value), strict=True)]
    chats = attend(align(query), *keys_and_values, attention_mask)[0]
    attended = [attend(*prefix, None)[0][0]] if shared else []
    return torch.cat([*attended, *(chat[:length] for chat, length in zip(chats, chat_lengths, strict=True))])[None], None


def split_batch(batch_size: int, accumulation: int, processes: int) -> tuple[int, int]:
    """Each process's micro-batch and accumulation, so that a step takes the same chats however many there are."""
    if accumulation % processes == 0:
        return batch_size, accumulation // processes
    if batch_size % processes == 0:
        return batch_size // processes, accumulation
    raise InputError(f"a step of {batch_size} x {accumulation} chats cannot be divided among {processes} processes. Choose "
                     "another --batch_size or --gradient_accumulation")


def describe_run(args: argparse.Namespace, base_revision: str | None, adapter: Path | None = None) -> dict:
    """What decides a run's result: settings, library versions, the base model, the data and what is trained further."""
    fingerprint = hashlib.sha256(args.data.read_bytes()).hexdigest()
    source = source_path(args.data)
    source = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    return {
        "base": {"name": args.model, "revision": base_revision},
        # Chats that were edited since they were written are no longer what their source says.
        "data": {"sha256": fingerprint, "source": source if source.get("sha256") == fingerprint else None},
        "settings": {name: value for name, value in sorted(vars(args).items()) if name not in FREE_ON_RESUME}
        | {"processes": get_process().num_processes},
        "versions": {"python": sys.version.split()[0]} | {package: version(package) for package in PACKAGES},
    } | ({"adapter": {"source": args.adapter, "sha256": hash_adapter(adapter)}} if adapter else {})


def read_record(folder: Path) -> dict:
    """What `describe_run` said when a checkpoint folder was begun; empty for a new one."""
    path = folder / "training.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def flatten_run(run: dict) -> dict:
    """A run's fields by dotted name, but for what may change on the way: where the data came from, as its fingerprint
    decides, how a step's chats are divided into micro-batches, and what is computed twice to save memory."""
    settings = dict(run["settings"])
    settings["chats a step"] = settings.pop("batch_size") * settings.pop("gradient_accumulation")
    free = {"source", "activation_checkpointing", "checkpoint_every"}
    return {f"{part}.{name}": value for part, fields in (run | {"settings": settings}).items()
            for name, value in fields.items() if name not in free}


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, whole or not, the last one first."""
    return sorted((path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()),
                  key=count_steps, reverse=True)


def count_steps(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def find_checkpoint(folder: Path, run: dict, resume: bool) -> Path | None:
    """The checkpoint to go on from, if any. Raises InputError if `folder` holds another run's."""
    checkpoints = list_checkpoints(folder)
    if not resume:
        if checkpoints:
            raise InputError(f"{folder} holds {checkpoints[0].name} of an earlier run. Go on with it: --resume; "
                             f"start anew: delete {folder} or name another --checkpoint_dir")
        return None
    began = read_record(folder)
    if checkpoints and not began:
        raise InputError(f"{folder} holds checkpoints but no training.json that says how they came to be; name another "
                         "--checkpoint_dir")
    if began and (changed := describe_changes(flatten_run(began), flatten_run(run))):
        raise InputError(f"{folder} holds a run that was begun otherwise; resuming would mix the two:\n  "
                         + "\n  ".join(changed))
    for checkpoint in checkpoints:
        if is_whole(checkpoint):
            get_process().print(f"resuming from {checkpoint}")
            return checkpoint
        get_process().print(f"{checkpoint} is not whole; looking at the one before")
    get_process().print("no checkpoint to resume from: starting at the first step")
    return None


def write_seal(folder: Path) -> str:
    """SHA-256 of every file of a checkpoint but the seal itself, as JSON."""
    return json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                       for path in sorted(folder.iterdir()) if path.is_file() and path.name != "files.json"}, indent=2)


def is_whole(checkpoint: Path) -> bool:
    seal = checkpoint / "files.json"
    return seal.is_file() and seal.read_bytes() == write_seal(checkpoint).encode()


class SealCheckpoint(TrainerCallback):
    """Writes a checkpoint's file hashes once all of it is there: what a killed process left half is told by their lack."""

    def on_train_begin(self, args, state, control, **kwargs):
        # What is later than the checkpoint gone on from is not whole, and counts among the two that Trainer keeps.
        for checkpoint in list_checkpoints(Path(args.output_dir)) if state.is_world_process_zero else []:
            if count_steps(checkpoint) > state.global_step:
                shutil.rmtree(checkpoint)

    def on_save(self, args, state, control, **kwargs):
        get_process().wait_for_everyone()  # each process writes the state of its own random numbers
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_whole(folder / "files.json", write_seal(folder))


def check_disks(args: argparse.Namespace, adapter: float) -> None:
    """Check that there is room for what a run writes; `adapter` is an adapter's bytes in float32. Raises InputError.

    A checkpoint takes three adapters, as it has two Adam moments beside it: two checkpoints that are kept and one that is
    being written; with --validation the best adapter, twice while it is replaced; and the last. What a run to be resumed
    has written is room, too.
    """
    for folder, needed in ((args.checkpoint_dir, (12 if args.validation else 10) * adapter), (args.output_dir, adapter)):
        room = find_room(folder) + sum(file.stat().st_size for path in list_checkpoints(folder) for file in path.iterdir())
        if needed > room:
            raise InputError(f"{folder}: up to {needed / 1e6:,.1f} MB will be written, but its disk has {room / 1e6:,.1f} MB "
                             "for it. Free some, or choose another disk: --checkpoint_dir, --output_dir")


def is_disk_full(error: Exception) -> bool:
    """Whether something could not be written for want of room, as Python, Safetensors or PyTorch's writer says it."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return (isinstance(error, OSError) and error.errno in codes
            or isinstance(error, SafetensorError) and any(f"(os error {code})" in str(error) for code in codes)
            or "inline_container.cc" in str(error) and ("unexpected pos" in str(error) or "failed writing" in str(error)))


def advise_on_memory(args: argparse.Namespace, processes: int) -> str:
    """What takes less memory than the settings of a run that had too little, and leaves its steps as they are."""
    advice, step = [], args.batch_size * args.gradient_accumulation
    held, _ = split_batch(args.batch_size, args.gradient_accumulation, processes)
    for size in range(args.batch_size - 1, 0, -1):
        with suppress(InputError):
            if step % size == 0 and split_batch(size, step // size, processes)[0] < held:
                advice.append(f"--batch_size {size} --gradient_accumulation {step // size}")
                break
    if not args.activation_checkpointing or args.checkpoint_every > 1:
        advice.append("--activation_checkpointing --checkpoint_every 1")
    again = f"Give {' or '.join(advice)}, which change no step and go with --resume. " if advice else ""
    return f"{again}A lower --max_length is for a run begun anew"


@contextmanager
def explain_faults(trainer: "ChatTrainer", args: argparse.Namespace) -> Iterator[None]:
    """Turn what may befall a run into an InputError that says how to go on. A checkpoint that did not fit is removed."""
    try:
        yield
    except (FloatingPointError, MemoryError, OSError, RuntimeError, SafetensorError) as error:
        steps, reason = trainer.state.global_step, str(error).partition("\n")[0]
        if isinstance(error, FloatingPointError):
            if not get_process().is_main_process:
                time.sleep(60)  # it is the same in all, and the main one tells it; the first to end takes the others with it
                sys.exit(1)
            told = (f"step {steps + 1}: {reason}. It did not reach the adapter. If it comes again after --resume, begin anew with "
                    "a lower --learning_rate and another --checkpoint_dir")
        elif is_out_of_memory(error):
            told = f"step {steps + 1}: out of memory ({reason}). {advise_on_memory(args, get_process().num_processes)}"
        elif is_disk_full(error):
            half = args.checkpoint_dir / f"checkpoint-{steps}"
            if half.is_dir() and not is_whole(half):
                shutil.rmtree(half, ignore_errors=True)
            room = ", ".join(f"{folder} has {find_room(folder) / 1e6:,.1f} MB free"
                             for folder in (args.checkpoint_dir, args.output_dir))
            told = f"step {steps}: the disk is full, or a file too large for it ({reason}): {room}. Make room"
        else:
            raise
        last = next(filter(is_whole, list_checkpoints(args.checkpoint_dir)), "the first step: there is no checkpoint yet")
        raise InputError(f"{told}\n--resume goes on from {last}") from error


def tell_standstill(losses: list[float], warmup: int) -> str | None:
    """What to say of a loss that has not fallen by a fifth, its latest 20 steps against its first five.

    Not before step 30, or three times the warm-up: on KLUE a model of 104 million parameters is at 0.3 of its first
    loss by then.
    """
    if len(losses) < max(30, 3 * warmup) or fmean(losses[-20:]) <= 0.8 * fmean(losses[:5]):
        return None
    return (f"warning: the loss has not fallen: {fmean(losses[:5]):.3g} over the first 5 steps, {fmean(losses[-20:]):.3g} over "
            f"the 20 up to step {len(losses)}. Is --learning_rate too low or too high, or the data nothing that --model can learn?")


def take_settings(args: argparse.Namespace, adapter: Path) -> None:
    """Set in `args` what an adapter that is trained further decides: the LoRA and, unless --model names one, the base.

    Raises InputError where a flag says otherwise.
    """
    config = read_adapter_config(adapter)
    if config.get("peft_type") != "LORA":
        raise InputError(f"--adapter {args.adapter}: is a {config.get('peft_type')} adapter; only LoRA can be trained further")
    if args.lora_targets:
        raise InputError(f"--lora_targets {args.lora_targets}: the adapter to be trained further, {args.adapter}, keeps its own. "
                         "Leave the flag out")
    for flag, field in {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}.items():
        if getattr(args, flag) not in (None, config[field]):
            raise InputError(f"--{flag} {getattr(args, flag)}: the adapter to be trained further, {args.adapter}, has "
                             f"{config[field]}, and keeps it. Leave the flag out")
        setattr(args, flag, config[field])
    if args.model is None:
        args.model, args.revision = config["base_model_name_or_path"], args.revision or config.get("revision")


def attend_efficiently(module, query, key, value, attention_mask, **kwargs):
    """CUDA's memory-efficient attention, the kernel that a mask leads to. On the meta device PyTorch would take the
    plain one, which keeps every score."""
    key, value = (states.repeat_interleave(query.shape[1] // states.shape[1], dim=1) for states in (key, value))
    attended = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, attention_mask, True)[0]
    return attended.transpose(1, 2), None


def count_per_token(config: PreTrainedConfig, lora: LoraConfig, precision: str, length: int = 256) -> dict[str, float]:
    """What a token costs a model under LoRA, head apart: the model run forward and backward without memory or weights.

    `layer_bytes`: what autograd keeps in a layer; `input_bytes`: what it keeps when every layer is checkpointed;
    `forward`, `backward`: FLOPs of the matrix products, recomputation not included; `forward_pair`, `backward_pair`: FLOPs
    of attention for each token that a token is held against, masked or not; `adapter`: trained parameters.
    """
    AttentionInterface.register("attend_efficiently", attend_efficiently)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    base = build_empty(config).to(dtype)
    base.set_attn_implementation("attend_efficiently")
    with torch.device("meta"):
        # The adapter is float32, but autocast computes with copies of the base's dtype: see estimate_memory.
        model = get_peft_model(base, copy.deepcopy(lora)).to(dtype).train()  # PEFT writes into what it is given
        inputs = {"input_ids": torch.zeros(1, length, dtype=torch.long), "use_cache": False,
                  "attention_mask": torch.zeros(1, 1, length, length, dtype=dtype)}
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):  # CUDA's, which keeps a byte an element
            module.forward = lambda hidden, p=module.p: torch.native_dropout(hidden, p, True)[0]
    own = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}

    def run_forward() -> tuple[torch.Tensor, int]:
        kept = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage()._cdata not in own:
                kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden = base.base_model(**inputs).last_hidden_state
        return hidden, sum(storage.nbytes() for storage in kept.values())

    def split_flops(counter: FlopCounterMode) -> tuple[int, int]:
        by_operation = counter.get_flop_counts()["Global"]
        attention = sum(flops for operation, flops in by_operation.items() if "attention" in str(operation))
        return sum(by_operation.values()) - attention, attention

    with FlopCounterMode(display=False) as counter:
        hidden, kept = run_forward()
    forward, forward_attention = split_flops(counter)
    with FlopCounterMode(display=False) as counter:
        hidden.sum().backward()
    backward, backward_attention = split_flops(counter)
    model.enable_input_require_grads()
    base.activation_checkpointing_enable()
    _, inputs_kept = run_forward()
    return {"layer_bytes": (kept - inputs_kept) / length / config.get_text_config().num_hidden_layers, "input_bytes": inputs_kept / length,
            "forward": forward / length, "backward": backward / length, "forward_pair": forward_attention / length**2,
            "backward_pair": backward_attention / length**2,
            "adapter": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)}


def count_checkpointed(model: PreTrainedModel, args: argparse.Namespace) -> float:
    """Share of the layers that are checkpointed."""
    layers = model.config.get_text_config().num_hidden_layers
    return math.ceil(layers / args.checkpoint_every) / layers if args.activation_checkpointing else 0


def estimate_memory(model: PreTrainedModel, cost: dict[str, float], args: argparse.Namespace,
                    chats: dict[str, float]) -> dict[str, float]:
    """Bytes by part, for a micro-batch of the longest of `chats` (see `measure_lengths`); `cost` is `count_per_token`'s.

    The adapter, its gradient and its moments are float32 (8-bit optimizers: one byte a value, and a float32 scale for each
    block of 256).
    """
    config = model.config.get_text_config()
    layers, checkpointed = config.num_hidden_layers, count_checkpointed(model, args)
    tokens, shared = count_tokens(chats, args, chats["longest"])[0], chats["prefix"] if args.pack else 0
    answers = args.batch_size * chats["answer"] * chats["longest"] / chats["mean"]
    width = 4 if args.precision == "float32" else 2
    # Attention makes numbers of the mask in every layer; autocast copies of the adapter.
    mask = (1 if args.pack else args.batch_size) * (chats["longest"] - shared) * chats["longest"]
    layer = cost["layer_bytes"] * tokens + width * mask + (cost["adapter"] / layers * 2 if width == 2 else 0)
    if args.pack:  # each chat's keys and values begin with the prefix's, and what attention gives is joined
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        layer += width * config.num_attention_heads * size * (2 * args.batch_size * shared + tokens)
    head = model.get_output_embeddings()
    moments = 2 if "adam" in args.optim else 0 if args.optim == "sgd" else 1
    # A last layer that isn't checkpointed is gone before one is computed again.
    again = args.activation_checkpointing and (layers - 1) % args.checkpoint_every == 0
    return {
        "base weights": estimate_weight_bytes(model, args.precision),
        "adapter": 4 * cost["adapter"],
        "gradients": 4 * cost["adapter"],
        "optimizer": moments * (1 + 4 / 256 if "8bit" in args.optim else 4) * cost["adapter"],
        "activations": cost["input_bytes"] * tokens + (1 - checkpointed) * layers * layer,
        # Gradients and temporaries at their most, in activations of a Llama's layer, as counted by tests/test_plan.py:
        # where PEFT's layer is not the 4-bit one, it casts to float32 under autocast, too.
        "backward": (again + (3 / 4 if args.precision == "bfloat16" else 1 / 3)) * layer,
        # TRL scores the tokens under the loss, against 32,768 entries of the vocabulary at a time.
        "loss": answers * ((width + 4) * head.in_features + width * min(32768, head.out_features)),
        "one matrix out of 4 bits": (2 * max(part.weight.numel() for part in find_projections(model))
                                     if args.precision == "nf4" else 0),
        "CUDA": 1e9,
    }


def estimate_minutes(model: PreTrainedModel, cost: dict[str, float], args: argparse.Namespace,
                     chats: dict[str, float]) -> tuple[float, float, float]:
    """FLOPs and floor in minutes of an epoch on an RTX 4090, and minutes of the floor that go to unpacking NF4.

    Frozen matrices have no weight gradient, so a token costs 4 FLOPs a parameter rather than 6, and 2 more where its layer
    is computed twice. Unpacking reads half a byte a parameter and writes two, once each way.
    """
    again = count_checkpointed(model, args)
    tokens, pairs = count_tokens(chats, args, chats["mean"])
    steps = chats["chats"] / args.batch_size
    head = model.get_output_embeddings().weight.numel()
    flops = steps * (tokens * ((1 + again) * cost["forward"] + cost["backward"])
                     + pairs * ((1 + again) * cost["forward_pair"] + cost["backward_pair"])
                     + 6 * head * args.batch_size * chats["answer"])  # logits, again for backward, and their gradient
    projections = sum(part.weight.numel() for part in find_projections(model))
    unpacking = steps * (2 + again) * 2.5 * projections / RTX_4090_BANDWIDTH / 60 if args.precision == "nf4" else 0
    return flops, flops / RTX_4090_FLOPS[args.precision] / 60 + unpacking, unpacking


def count_tokens(chats: dict[str, float], args: argparse.Namespace, length: float) -> tuple[float, float]:
    """Tokens of a micro-batch of chats of one length, and pairs of tokens that attention holds against each other."""
    shared = chats["prefix"] if args.pack else 0
    rest = args.batch_size * (length - shared)
    return shared + rest, shared**2 + rest * length


def measure_lengths(dataset: Dataset) -> dict[str, float]:
    """How many `chats`, and in tokens: their `mean`, the `longest`, the `prefix` that all can share, the mean under the loss."""
    lengths = [len(input_ids) for input_ids in dataset["input_ids"]]
    answers = sum(label != -100 for labels in dataset["labels"] for label in labels)
    return {"chats": len(lengths), "mean": sum(lengths) / len(lengths), "longest": max(lengths),
            "prefix": count_shared(list(dataset["input_ids"]), list(dataset["labels"])), "answer": answers / len(lengths)}


def find_lengths(args: argparse.Namespace) -> tuple[dict[str, float], str]:
    """The lengths of the chats of --data or, where they or their tokenizer are not there, the post's; and which it is."""
    post = {"chats": 21008, "mean": 149, "longest": 300, "prefix": 85, "answer": 22}
    if args.loss == "chat":
        post |= {"prefix": 0, "answer": 149}
    if not args.data.is_file():
        return post, f"the post's, the longest assumed; {args.data} is not there"
    try:
        tokenizer = load_tokenizer(args.model, args.revision)
    except InputError:
        return post, "the post's, the longest assumed; the tokenizer cannot be read"
    end_tokens = find_end_tokens(args.model, tokenizer, args.revision)
    return measure_lengths(encode_chats(load_chats(args.data), tokenizer, end_tokens, args.max_length, args.loss)), str(args.data)


def print_plan(args: argparse.Namespace) -> None:
    """What training takes on an RTX 4090 and what each setting changes, computed from configuration and chats alone."""
    with explain_hub_errors(args.model, "Give a folder instead"):
        # The defaults are EXAONE's own values, and its repository is gated.
        base_config = ExaoneConfig() if args.model == EXAONE else load_config(args.model, args.revision)
    model, (_, lora), (chats, source) = build_empty(base_config), build_configs(args, None), find_lengths(args)
    cost = count_per_token(base_config, lora, args.precision)

    print(f"{args.model}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters, "
          f"{sum(part.weight.numel() for part in find_projections(model)):,} of them in {len(find_projections(model))} projections; "
          f"LoRA of rank {args.lora_r} trains {cost['adapter']:,}\n"
          f"chats: {chats['chats']:,} of {chats['mean']:.0f} tokens, {chats['prefix']} the same in all, {chats['answer']:.0f} under "
          f"the loss, the longest {chats['longest']} ({source})\n"
          "Computed, not run. Memory is for the longest chats, minutes for an epoch on an RTX 4090 that does nothing but\n"
          f"multiply and unpack at its published rates ({RTX_4090_FLOPS[args.precision] / 1e12:.1f} TFLOPS, "
          f"{RTX_4090_BANDWIDTH / 1e9:,.0f} GB/s).\n")
    parts = estimate_memory(model, cost, args, chats)
    checkpointed = f"one layer in {args.checkpoint_every}" if args.activation_checkpointing else "none"
    print(f"these settings: {args.precision}, {args.optim}, batch {args.batch_size} x {args.gradient_accumulation} "
          f"{'packed' if args.pack else 'padded'}, checkpointed {checkpointed}")
    print("\n".join(f"{name:>26} {size / 1e9:6.2f} GB" for name, size in parts.items() if size))
    print(f"{'together':>26} {sum(parts.values()) / 1e9:6.2f} GB\n")

    step = args.batch_size * args.gradient_accumulation
    rows = []
    print("batch   sequences  checkpointed      GB  tokens, M  PFLOPs  minutes  of them unpacking")
    for pack in (False, True):
        for batch_size in [size for size in (4, 8, 16) if step % size == 0] or [args.batch_size]:
            for every in (1, 2, None):
                settings = argparse.Namespace(**vars(args) | {
                    "pack": pack, "batch_size": batch_size, "gradient_accumulation": step // batch_size,
                    "activation_checkpointing": every is not None, "checkpoint_every": every or 1})
                memory = sum(estimate_memory(model, cost, settings, chats).values())
                flops, minutes, unpacking = estimate_minutes(model, cost, settings, chats)
                tokens = count_tokens(chats, settings, chats["mean"])[0] * chats["chats"] / batch_size
                rows.append((pack, round(minutes), memory, settings))
                print(f"{batch_size:>2} x {step // batch_size:<3} {'packed' if pack else 'padded':10} "
                      f"{'none' if every is None else f'one in {every}':12} {memory / 1e9:7.1f} {tokens / 1e6:10.2f} "
                      f"{flops / 1e15:7.0f} {minutes:8.1f} {unpacking:8.1f}")
    print(f"\nAt the 2,413 tokens/s that torchtune's README gives for QLoRA of Llama-3.1-8B on an RTX 4090 (2 x 2,048 tokens, "
          f"compiled):\n{chats['chats'] * chats['mean'] / 2413 / 60:.1f} minutes padded, {tokens / 2413 / 60:.1f} packed by "
          f"{batch_size}.\n")
    for size in (24, 16, 12):
        for pack in (True, False):
            # A saving of seconds is not worth gigabytes.
            fitting = [row for row in rows if row[0] == pack and 1.15 * row[2] <= size * 1e9]
            if not fitting:
                print(f"{size} GB: nothing {'packed' if pack else 'padded'} fits")
                continue
            _, minutes, memory, settings = min(fitting, key=lambda row: row[1:3])
            print(f"{size} GB: {'--pack' if pack else '--no-pack'} --batch_size {settings.batch_size} "
                  f"--gradient_accumulation {settings.gradient_accumulation} "
                  + (f"--activation_checkpointing --checkpoint_every {settings.checkpoint_every}"
                     if settings.activation_checkpointing else "--no-activation_checkpointing")
                  + f"  ({memory / 1e9:.1f} GB and 15 % to spare, {minutes} minutes)")


def check_compiler() -> None:
    """Check that Triton can build TRL's loss, on CUDA at the first step. Raises InputError."""
    if not torch.cuda.is_available():
        return
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        raise InputError("no C compiler is to be found, with which Triton builds the loss: apt-get install gcc")
    if not header.is_file():
        raise InputError(f"{header} is not there, with which Triton builds the loss: apt-get install "
                         f"python{sys.version_info.major}.{sys.version_info.minor}-dev")


class EpochOrder(torch.utils.data.Sampler):
    """The order of the chats, which follows from seed and epoch alone.

    Transformers' own sampler draws from the global generator, whose state dropout has moved on by the second
    epoch: a run resumed there would see other batches than an unbroken one.
    """

    def __init__(self, lengths: list[int], group_size: int | None, seed: int):
        self.lengths, self.group_size, self.seed, self.epoch = lengths, group_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.group_size is None:
            return iter(torch.randperm(len(self.lengths), generator=generator).tolist())
        return iter(get_length_grouped_indices(self.lengths, self.group_size, generator=generator))


class ChatTrainer(SFTTrainer):
    """TRL's trainer with our order of chats, packed batches, and an eye on the loss."""

    group_by_length = True
    warned = False

    def training_step(self, *args, **kwargs):
        """Raises FloatingPointError before a step whose loss or gradient is not finite is taken."""
        loss = super().training_step(*args, **kwargs)
        self.step_loss = self.step_loss + loss
        if self.accelerator.sync_gradients:
            gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
            # Both in one look, for which a GPU has to be waited for.
            step_loss, norm = torch.stack([self.step_loss, torch.nn.utils.get_total_norm(gradients)]).tolist()
            if not math.isfinite(step_loss + norm):
                raise FloatingPointError(f"the loss is {step_loss}, the norm of its gradient {norm}")
            self.losses.append(step_loss)
            self.step_loss = 0
            # A resumed run has not seen its first steps.
            seen = self.losses if len(self.losses) == self.state.global_step + 1 else []
            if not self.warned and (warning := tell_standstill(seen, self.args.get_warmup_steps(self.state.max_steps))):
                self.warned = True
                get_process().print(warning)
        return loss

    def compute_loss(self, model, inputs, **kwargs):
        if "chat_lengths" in inputs:
            # Not among the inputs: TRL would count the pairs of this mask as tokens.
            model = functools.partial(model, attention_mask=inputs.pop("attention_mask"))
        return super().compute_loss(model, inputs, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochOrder:
        lengths = [len(input_ids) for input_ids in self.train_dataset["input_ids"]]
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.order = EpochOrder(lengths, batch if self.group_by_length else None, self.args.seed)
        return self.order

    def _run_epoch(self, *, epoch, **kwargs):
        # Resumed within an epoch, Accelerate does not reach it: below what skips and what shares the batches.
        self.order.set_epoch(epoch)
        super()._run_epoch(epoch=epoch, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        # Read back, paged state is ordinary memory that still says it is paged: bitsandbytes would prefetch it.
        for state in self.optimizer.state.values() if checkpoint else []:
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    vars(value).pop("is_paged", None)


def build_configs(args: argparse.Namespace, base_revision: str | None) -> tuple[SFTConfig, LoraConfig]:
    """The recipe in TRL's and PEFT's words. Raises InputError if one of them does not know a setting."""
    batch_size, accumulation = split_batch(args.batch_size, args.gradient_accumulation, get_process().num_processes)
    try:
        config = SFTConfig(
            output_dir=str(args.checkpoint_dir),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            ddp_find_unused_parameters=False,
            learning_rate=args.learning_rate,
            lr_scheduler_type=args.lr_scheduler,
            warmup_steps=args.warmup,
            num_train_epochs=args.epochs,
            max_steps=args.max_steps,
            optim=args.optim,
            weight_decay=args.weight_decay,
            max_grad_norm=args.max_grad_norm,
            bf16=args.precision != "float32",
            activation_checkpointing=args.activation_checkpointing,
            activation_checkpointing_kwargs={"every_n_layers": args.checkpoint_every},
            use_cpu=not torch.cuda.is_available(),
            max_length=None,  # encode_chats has seen to it
            save_steps=args.save_steps,
            save_total_limit=2,
            logging_steps=args.logging_steps,
            logging_nan_inf_filter=False,  # a loss that is not a number should be seen
            report_to="tensorboard",
            seed=args.seed,
        )
        lora = LoraConfig(
            r=args.lora_r,
            lora_alpha=args.lora_alpha,
            lora_dropout=args.lora_dropout,
            target_modules=TARGETS.get(args.lora_targets),  # none where an adapter brings its own
            bias="none",
            task_type="CAUSAL_LM",
            revision=base_revision,
        )
    except ValueError as error:
        raise InputError(f"a setting that is not known: {error}") from error
    return config, lora


def build_trainer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, train_dataset: Dataset,
                  config: SFTConfig, lora: LoraConfig, group_by_length: bool, pack: bool,
                  callbacks: list[TrainerCallback] | None = None) -> ChatTrainer:
    """TRL's trainer over a fresh LoRA on the projections of `model`. Callbacks are called before a checkpoint is sealed."""
    if pack:
        AttentionInterface.register("attend_packed", attend_packed)
        AttentionMaskInterface.register("attend_packed", sdpa_mask)
        model.set_attn_implementation("attend_packed")
    trainer = ChatTrainer(model=model, args=config, train_dataset=train_dataset, processing_class=tokenizer,
                          data_collator=pack_chats if pack else None, peft_config=lora,
                          callbacks=[*(callbacks or []), SealCheckpoint()])
    trainer.group_by_length = group_by_length
    trainer.losses, trainer.step_loss = [], 0
    # TRL keeps a 4-bit model's adapter in bfloat16, which a resumed run reads back as float32: the two would
    # part. In float32 throughout they are the same to the bit.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def check_packable(name: str, model: PreTrainedModel, longest: int) -> None:
    """Check that every layer is an attention that `attend_packed` computes. Raises InputError; needs no weights.

    One that PyTorch does not compute may have sinks or soft caps; a window narrower than the longest chat is another mask.
    """
    config = model.config.get_text_config()
    window, attention = getattr(config, "sliding_window", None), config._attn_implementation
    if attention != "sdpa":
        told = f"its attention is {attention}, not sdpa"
    elif other := set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}:
        told = f"it has layers of {', '.join(sorted(other))}"
    elif window and window < longest:
        told = f"its attention sees {window} tokens, and there are chats of {longest}: --max_length {window} leaves those out"
    else:
        return
    raise InputError(f"{name} does not read packed chats as it reads them one by one ({told}). Add --no-pack")


def check_packing(trainer: ChatTrainer) -> None:
    """Check that this model reads two packed chats, the longest, as it reads them padded. Raises InputError.

    It will not if a layer brings a mask of its own, or does not hand on what `attend_packed` needs.
    """
    rows = sorted(trainer.train_dataset, key=lambda row: len(row["input_ids"]))[-2:]
    trainer.model.train()  # Linear4bit would repack its weights in evaluation mode: see ScoreValidation.score

    def read(batch: dict) -> tuple[torch.Tensor, ...]:
        with torch.no_grad(), trainer.model.disable_adapter():
            output = trainer.model(**send_to_device(batch, trainer.model.device), fused_lm_head=True)  # TRL's, which holds no logits
        return output.log_probs[output.label_mask].float().split([sum(label != -100 for label in row["labels"]) for row in rows])

    padded = read(DataCollatorForLanguageModeling(trainer.processing_class.pad_token_id)(rows))
    try:
        difference = max((one - other).abs().mean().item() for one, other in zip(padded, read(pack_chats(rows)), strict=True))
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        told = str(error).partition("\n")[0]
    else:
        # Measured on a Gemma 3 in 4-bit: 0.03 nats a token, from rounding, which grows with the logits; 1.6 with a mask that
        # lets chats see each other.
        if difference < 0.3:
            return
        told = f"{difference:.3f} nats a token apart"
    raise InputError(f"{trainer.model.config.name_or_path} does not read packed chats as it reads them one by one ({told}). "
                     "Add --no-pack")


def run_training(trainer: ChatTrainer, checkpoint: Path | None) -> None:
    """Train to the end, from a checkpoint if there is one. One of the last step is the end itself: Trainer would go on."""
    if checkpoint:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step >= state.max_steps:
            set_peft_model_state_dict(trainer.model, load_file(checkpoint / "adapter_model.safetensors"))
            trainer.state = state
            return
    try:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("go on from the last checkpoint with --resume") from None


class ScoreValidation(TrainerCallback):
    """Scores held-out chats by generating whenever a checkpoint is written, the last step's too, and keeps the best adapter.

    The answers go the way of evaluate_hub.py's, back to tags, and the score is seqeval's micro F1, against the tags that
    the chats' own answers give. `folder` holds the best adapter so far and its score, `best.json`.
    """

    def __init__(self, chats: list[list[dict]], tokenizer: PreTrainedTokenizerBase, end_tokens: list[int], folder: Path):
        self.folder, self.tokenizer, self.end_tokens = folder, tokenizer, end_tokens
        self.prompts = [tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True)["input_ids"] for chat in chats]
        self.prefix = os.path.commonprefix([prompt[:-1] for prompt in self.prompts])
        self.tokens = [list(chat[-2]["content"]) for chat in chats]
        self.gold = [json_to_bio(chat[-1]["content"], tokens) for chat, tokens in zip(chats, self.tokens, strict=True)]
        self.max_new_tokens = 2 * max(len(tokenizer(chat[-1]["content"])["input_ids"]) for chat in chats)

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0 and state.is_world_process_zero:
            shutil.rmtree(self.folder, ignore_errors=True)  # another run's

    def on_save(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            score, best = self.score(model), self.read_best()
            state.log_history.append({"step": state.global_step, "validation_f1": score})
            state.save_to_json(str(Path(args.output_dir) / f"checkpoint-{state.global_step}" / "trainer_state.json"))
            print(f"validation: F1 {score:.4f} after step {state.global_step}")
            if best is None or score > best["f1"]:
                with replace_folder(self.folder, "best.json") as part:
                    model.save_pretrained(part, save_embedding_layers=False)
                    write_whole(part / "best.json", json.dumps({"step": state.global_step, "f1": score}))

    def score(self, model: PeftModel) -> float:
        model.eval()
        for module in model.modules():
            # Asked in evaluation mode, it would repack its weights for some CPUs into a form that passes no gradient on.
            if isinstance(module, Linear4bit):
                module.train()
        answers = sorted(generate_answers(model, self.tokenizer, self.end_tokens, self.prompts, self.prefix, 32, self.max_new_tokens))
        model.train()
        return compute_f1(self.gold, [json_to_bio(answer.text, tokens) for answer, tokens in zip(answers, self.tokens, strict=True)])

    def read_best(self) -> dict | None:
        path = self.folder / "best.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def restore_best(self, model: PeftModel) -> None:
        best = self.read_best()
        set_peft_model_state_dict(model, load_file(self.folder / "adapter_model.safetensors"))
        print(f"best of the checkpoints on the validation chats: step {best['step']}, F1 {best['f1']:.4f}")


def score_answer(model: PreTrainedModel, row: dict) -> float:
    """Mean log-probability that the model gives the tokens under the loss."""
    input_ids = torch.tensor([row["input_ids"]], device=model.device)
    labels = torch.tensor([row["labels"]], device=model.device)
    with torch.inference_mode():
        return -model(input_ids=input_ids, labels=labels).loss.item()


def check_adapter(model, folder: Path, row: dict) -> None:
    """Read an adapter back. Raises RuntimeError if it is empty, is not the one in `model`, or changes no answer.

    The answer is a training chat's, scored with and without the adapter on the one copy of the base in memory;
    as the saved tensors are the model's own to the bit, what holds for the one holds for the other.
    """
    trained = get_peft_model_state_dict(model, save_embedding_layers=False)
    saved = load_file(folder / "adapter_model.safetensors")
    untrained = [name for name, tensor in trained.items() if "lora_B" in name and not tensor.any()]
    if not saved or untrained:
        raise RuntimeError(f"the adapter is empty: {len(saved)} tensors, of which untrained: {untrained[:3]}")
    different = [name for name in trained.keys() | saved.keys()
                 if name not in saved or name not in trained or not torch.equal(saved[name], trained[name].cpu())]
    if different:
        raise RuntimeError(f"{len(different)} saved tensors are not the trained ones, such as {different[0]}")
    model.eval()
    with model.disable_adapter():
        before = score_answer(model, row)
    after = score_answer(model, row)
    if after == before or math.isnan(after):
        raise RuntimeError(f"the adapter does not change the model's answer (log-probability {before:.4f} without it, "
                           f"{after:.4f} with it)")
    print(f"adapter: {len(saved)} tensors, read back as trained; a training answer's mean log-probability a token "
          f"goes from {before:.3f} to {after:.3f}")


def save_adapter(trainer: SFTTrainer, tokenizer: PreTrainedTokenizerBase, run: dict, folder: Path) -> None:
    """Write adapter, tokenizer and `training.json`, check them, and only then put them in `folder`'s place."""
    with replace_folder(folder, "adapter_config.json") as part:
        trainer.model.save_pretrained(part, save_embedding_layers=False)
        (part / "README.md").unlink(missing_ok=True)  # PEFT's blank model card
        tokenizer.save_pretrained(part)
        write_whole(part / "training.json", json.dumps(
            run | {"steps": trainer.state.global_step, "log": trainer.state.log_history}, ensure_ascii=False, indent=2))
        check_adapter(trainer.model, part, trainer.train_dataset[0])
    print(f"saved: {folder}")


def not_negative(text: str) -> float:
    """A number of at least 0, for argparse."""
    if not float(text) >= 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return float(text)


def share(text: str) -> float:
    """A number from 0 to below 1, for argparse."""
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = parser.add_argument_group("files")
    files.add_argument("--data", type=Path, default=Path("data/train.jsonl"), metavar="FILE", help="chats (default: %(default)s)")
    files.add_argument("--validation", type=positive_int, default=0, metavar="N",
                       help="hold out N of the chats, score them by generating at every checkpoint, and keep the best adapter "
                            "(default: none)")
    files.add_argument("--output_dir", type=Path, default=Path(ADAPTER), metavar="DIR",
                       help="where the adapter goes; an adapter there is replaced (default: %(default)s)")
    files.add_argument("--checkpoint_dir", type=Path, default=Path("results"), metavar="DIR",
                       help="checkpoints and TensorBoard logs (default: %(default)s)")
    files.add_argument("--save_steps", type=positive_int, default=500, metavar="N", help="steps between checkpoints (default: %(default)s)")
    files.add_argument("--logging_steps", type=positive_int, default=50, metavar="N", help="steps between log lines (default: %(default)s)")
    files.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint")
    files.add_argument("--plan", action="store_true", help="print memory and time on an RTX 4090, computed, and train nothing")

    base = parser.add_argument_group("base model")
    base.add_argument("--model", metavar="ID_OR_FOLDER",
                      help=f"any causal LM with a chat template (default: {EXAONE}, or the one that --adapter names)")
    base.add_argument("--revision", metavar="REV", help="its branch, tag or commit on the hub (default: the newest, or --adapter's)")
    base.add_argument("--precision", choices=["nf4", "bfloat16", "float32"], default="nf4",
                      help="nf4 is QLoRA; the others train LoRA on the unquantised model (default: %(default)s)")

    lora = parser.add_argument_group("LoRA")
    lora.add_argument("--adapter", default="none", metavar="ID_OR_FOLDER",
                      help="train this one further, with its own targets, rank, scale and dropout (default: none, a new one)")
    lora.add_argument("--lora_targets", choices=TARGETS,
                      help="the projections that it adapts: all seven of a layer, or the three that the post's names "
                           f"reached (default: {NEW_LORA['lora_targets']})")
    lora.add_argument("--lora_r", type=positive_int, metavar="R", help=f"rank (default: {NEW_LORA['lora_r']})")
    lora.add_argument("--lora_alpha", type=positive_int, metavar="A",
                      help=f"scale, as alpha / rank (default: {NEW_LORA['lora_alpha']})")
    lora.add_argument("--lora_dropout", type=share, metavar="P", help=f"(default: {NEW_LORA['lora_dropout']})")

    recipe = parser.add_argument_group("recipe (the post's, but for loss, micro-batches and packing)")
    recipe.add_argument("--loss", choices=["answer", "chat"], default="answer",
                        help="what is learnt: the answer and its end marker, or as in the post the whole chat (default: %(default)s)")
    recipe.add_argument("--batch_size", type=positive_int, default=16, metavar="N", help="chats a micro-batch (default: %(default)s)")
    recipe.add_argument("--gradient_accumulation", type=positive_int, metavar="N",
                        help="micro-batches a step, shared among the processes (default: what makes 16 chats a step)")
    recipe.add_argument("--pack", action=argparse.BooleanOptionalAction,
                        help="compute the system prompt once a micro-batch and pad nothing; dropout apart, changes no gradient (default: yes, "
                             "but with --loss chat, where there is no prompt to share)")
    recipe.add_argument("--learning_rate", type=not_negative, default=2e-4, metavar="LR", help="peak (default: %(default)s)")
    recipe.add_argument("--lr_scheduler", default="cosine", metavar="NAME", help="as Transformers names it (default: %(default)s)")
    recipe.add_argument("--warmup", type=not_negative, default=0.03, metavar="SHARE", help="steps, or below 1 their share (default: %(default)s)")
    recipe.add_argument("--epochs", type=not_negative, default=1, metavar="N", help="passes over the data (default: %(default)s)")
    recipe.add_argument("--max_steps", type=positive_int, default=-1, metavar="N", help="stop after N steps, whatever --epochs says")
    recipe.add_argument("--max_length", type=positive_int, default=1024, metavar="N", help="tokens; longer chats are left out (default: %(default)s)")
    recipe.add_argument("--optim", metavar="NAME",
                        help="as Transformers names it (default: paged_adamw_32bit on CUDA, else adamw_torch)")
    recipe.add_argument("--weight_decay", type=not_negative, default=0.001, metavar="W", help="(default: %(default)s)")
    recipe.add_argument("--max_grad_norm", type=not_negative, default=0.3, metavar="G", help="gradient clipping (default: %(default)s)")
    recipe.add_argument("--group_by_length", action=argparse.BooleanOptionalAction, default=True,
                        help="batches of chats of similar length (default: yes)")
    recipe.add_argument("--activation_checkpointing", action=argparse.BooleanOptionalAction,
                        help="less memory, more time (default: yes on CUDA)")
    recipe.add_argument("--checkpoint_every", type=positive_int, default=1, metavar="K",
                        help="checkpoint one layer in K: the higher, the more memory and the less time (default: %(default)s)")
    recipe.add_argument("--seed", type=int, default=42, metavar="N", help="of adapter, order and dropout (default: %(default)s)")
    args = parser.parse_args(argv)
    cuda = torch.cuda.is_available() or args.plan
    if args.optim is None:
        args.optim = "paged_adamw_32bit" if cuda else "adamw_torch"
    if args.activation_checkpointing is None:
        args.activation_checkpointing = cuda
    if args.gradient_accumulation is None:
        if 16 % args.batch_size:
            parser.error(f"--batch_size {args.batch_size} does not divide the 16 chats of a step: give --gradient_accumulation, too")
        args.gradient_accumulation = 16 // args.batch_size
    if not args.epochs:
        parser.error("--epochs 0 trains nothing")
    if args.pack is None:
        args.pack = args.loss == "answer"
    if args.plan and args.adapter != "none":
        parser.error("--plan is for a new adapter: leave --adapter out")
    if args.adapter == "none":  # else the adapter says
        for name, value in ({"model": EXAONE} | NEW_LORA).items():
            setattr(args, name, value if getattr(args, name) is None else getattr(args, name))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.plan:
        return print_plan(args)
    chats, held_out = hold_out(load_chats(args.data), args.validation, args.seed)
    check_replaceable(args.output_dir, "adapter_config.json")
    check_writable(args.checkpoint_dir / "training.json")
    adapter = find_adapter(args.adapter)
    if adapter:
        take_settings(args, adapter)
    if args.resume and not args.revision and (began := read_record(args.checkpoint_dir)):
        args.revision = began["base"]["revision"]
    revision = check_base(args.model, args.revision)
    run = describe_run(args, revision, adapter)
    checkpoint = find_checkpoint(args.checkpoint_dir, run, args.resume)
    config, lora = build_configs(args, revision)
    tokenizer = load_tokenizer(args.model, revision)
    end_tokens = find_end_tokens(args.model, tokenizer, revision)
    dataset = encode_chats(chats, tokenizer, end_tokens, args.max_length, args.loss)
    base_config = load_config(args.model, revision)
    if adapter:
        lora, tensors = read_adapter(adapter, base_config.model_type)
        lora.revision = revision
    empty, process, lengths = build_empty(base_config), get_process(), measure_lengths(dataset)
    if args.pack:
        check_packable(args.model, empty, lengths["longest"])
    try:
        memory = estimate_memory(empty, count_per_token(base_config, lora, args.precision), argparse.Namespace(
            **vars(args) | {"batch_size": config.per_device_train_batch_size}), lengths)
    except (RuntimeError, NotImplementedError) as error:
        process.print(f"memory and disk are not checked: {args.model} cannot be counted on without its weights ({error})")
    else:
        # Several processes hold the gradients once more, in the buckets in which they are summed.
        buckets = memory["gradients"] if process.num_processes > 1 else 0
        check_device(args.model, empty, args.precision, sum(memory.values()) - memory["base weights"] + buckets)
        check_disks(args, memory["adapter"])
    check_compiler()

    if process.is_main_process:
        write_whole(args.checkpoint_dir / "training.json", json.dumps(run, ensure_ascii=False, indent=2))
    with process.main_process_first():
        download_base(args.model, revision)
    model = load_model(args.model, revision, args.precision)
    validation = [ScoreValidation(held_out, tokenizer, end_tokens, args.checkpoint_dir / "best")] if held_out else []
    trainer = build_trainer(model, tokenizer, dataset, config, lora, args.group_by_length, args.pack, validation)
    if adapter:
        fill_adapter(trainer.model, tensors, adapter)
        trainer.warned = True  # its loss need not fall
    with explain_faults(trainer, args):
        if args.pack:
            check_packing(trainer)
        run_training(trainer, checkpoint)
        if process.is_main_process:
            for scored in validation:
                scored.restore_best(trainer.model)
            save_adapter(trainer, tokenizer, run, args.output_dir)


if __name__ == "__main__":
    run_script(main)
