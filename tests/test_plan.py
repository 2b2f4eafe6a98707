"""The plan's sums against the tensors that training really holds, and what it prints without weights, GPU or network."""
import json
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import train
from exaone import (EXAONE, ExaoneConfig, ExaoneForCausalLM, build_empty, find_end_tokens, load_config, load_model,
                    load_tokenizer)


def sum_bytes(tensors) -> int:
    """Memory of tensors, each storage counted once."""
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def list_weights(model) -> list[torch.Tensor]:
    """Frozen weights and buffers, and what NF4 needs to read them."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    states = [parameter.quant_state for parameter in frozen if hasattr(parameter, "quant_state")]
    return [*frozen, *model.buffers(), *(tensor for state in states for tensor in
            (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code))]


@pytest.fixture(scope="module")
def larger(stand_in, tmp_path_factory):
    """The stand-in's tokenizer and six wider layers of random weights."""
    folder = tmp_path_factory.mktemp("model") / "EXAONE-larger"
    load_tokenizer(str(stand_in)).save_pretrained(folder)
    ExaoneForCausalLM(ExaoneConfig(vocab_size=2000, hidden_size=256, intermediate_size=896, num_layers=6, num_attention_heads=8,
                                   num_key_value_heads=4, max_position_embeddings=1024)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def even_chats(chats_file, tmp_path_factory):
    """Eight chats of one length, as the plan takes a micro-batch to be."""
    path = tmp_path_factory.mktemp("even") / "train.jsonl"
    chat = json.loads(chats_file.read_text(encoding="utf-8").splitlines()[0])
    user, sentence = chat["messages"][1], chat["messages"][1]["content"]
    lines = []
    for number in range(8):
        user["content"] = f"{number}{sentence}"
        lines.append(json.dumps(chat, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


class PeakBytes(TorchDispatchMode):
    """The most memory that tensors made under it hold at one time."""

    def __init__(self):
        super().__init__()
        self.live, self.now, self.peak = set(), 0, 0

    def free(self, key: int, size: int) -> None:
        self.live.remove(key)
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        known = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for storage in [tensor.untyped_storage() for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]:
            if storage._cdata not in self.live | known:
                self.live.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result


@pytest.mark.parametrize("base, precision, flags", [
    ("stand_in", "nf4", "--no-activation_checkpointing --no-pack"),
    ("stand_in", "nf4", "--activation_checkpointing"),
    ("stand_in", "float32", "--no-activation_checkpointing"),
    ("stand_in", "float32", "--activation_checkpointing --no-pack"),
    ("larger", "nf4", "--no-activation_checkpointing --lora_r 8"),
    ("larger", "nf4", "--activation_checkpointing --checkpoint_every 2 --optim adamw_8bit"),
    ("larger", "bfloat16", "--activation_checkpointing --no-pack"),
    ("larger", "float32", "--activation_checkpointing --checkpoint_every 4 --optim sgd"),
])
def test_sums_agree_with_the_tensors_held(base, precision, flags, chats_file, even_chats, tmp_path, monkeypatch, request):
    # As on CUDA: dropout keeps a byte an element, and PEFT, which asks after CUDA's autocast alone, finds it on.
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda hidden, p, training, inplace:
                        torch.native_dropout(hidden, p, training)[0])
    is_autocast_enabled = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device="cpu": is_autocast_enabled(device))
    data = chats_file if "--no-pack" in flags else even_chats  # of one length, padded chats would need no mask
    args = train.parse_args(["--model", str(request.getfixturevalue(base)), "--data", str(data), "--precision", precision,
                             "--batch_size", "8", "--gradient_accumulation", "1", "--max_steps", "1",
                             "--checkpoint_dir", str(tmp_path), *flags.split()])
    config, lora = train.build_configs(args, None)
    tokenizer = load_tokenizer(args.model)
    dataset = train.encode_chats(train.load_chats(args.data), tokenizer, find_end_tokens(args.model, tokenizer), 1024)
    trainer = train.build_trainer(load_model(args.model, None, precision), tokenizer, dataset, config, lora, True,
                                  args.pack)
    adapter = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    weights, compute_loss, seen = list_weights(trainer.model), trainer.compute_loss, {}

    def watch(model, inputs, **kwargs):
        known = {tensor.untyped_storage()._cdata for tensor in [*weights, *adapter, *tree_leaves(dict(inputs))] if isinstance(tensor, torch.Tensor)}
        seen["batch"], kept = {name: inputs[name] for name in inputs if name != "labels"}, []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
            loss = compute_loss(model, inputs, **kwargs)
        seen["activations"] = sum_bytes(tensor for tensor in kept if tensor.untyped_storage()._cdata not in known)
        return loss

    monkeypatch.setattr(trainer, "compute_loss", watch)
    trainer.train()
    trainer.optimizer.zero_grad()
    with PeakBytes() as peak:
        with trainer.accelerator.autocast():
            hidden = trainer.model.get_base_model().base_model(**seen["batch"]).last_hidden_state
        hidden.backward(torch.ones_like(hidden))
    held = {"base weights": sum_bytes(weights), "adapter": sum_bytes(adapter), "activations": seen["activations"],
            "optimizer": sum_bytes(tensor for state in trainer.optimizer.state.values() for tensor in state.values()
                                   if isinstance(tensor, torch.Tensor)), "peak": peak.peak}

    base_config, tokens = load_config(args.model), seen["batch"]["input_ids"].numel()
    cost = train.count_per_token(base_config, lora, precision)
    shared = tokens - sum(seen["batch"].get("chat_lengths", [tokens]))
    chats = {"longest": shared + (tokens - shared) / args.batch_size, "mean": 1, "prefix": shared, "answer": 0}
    planned = train.estimate_memory(build_empty(base_config), cost, args, chats)
    planned["peak"] = sum(planned[name] for name in ("activations", "backward", "one matrix out of 4 bits"))
    # A CPU scores every token, and keeps what the head reads.
    planned["activations"] += tokens * base_config.hidden_size * (4 if precision == "float32" else 2)
    assert {name: planned[name] for name in held} == pytest.approx(held, rel=0.1)


def test_tokens_cost_what_the_architecture_says():
    """By hand, for three layers: 2 FLOPs a weight forward, 2 back, and 2 more for the gradient of what is trained."""
    config = ExaoneConfig(num_layers=3)
    _, lora = train.build_configs(train.parse_args([]), None)
    frozen = 3 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    trained = 3 * 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336))
    cost = train.count_per_token(config, lora, "nf4")
    assert cost["adapter"] == trained
    assert cost["forward"] == 2 * (frozen + trained)
    # Nothing asks for the gradient of the embeddings, so q, k and v of the first layer give none.
    first = 4096 * (4096 + 2 * 1024) + 3 * 32 * 4096
    assert cost["backward"] == 2 * (frozen + 2 * trained - first)
    assert cost["forward_pair"] == 3 * 4 * 4096 and cost["backward_pair"] == 2.5 * cost["forward_pair"]
    assert lora.target_modules == "all-linear"


def test_plan_of_the_real_model_needs_neither_weights_nor_gpu_nor_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("a model was loaded"))
    train.main(["--plan", "--data", str(tmp_path / "train.jsonl")])
    out = capsys.readouterr().out
    assert f"{EXAONE}: 7,818,448,896 parameters, 6,979,321,856 of them in 224 projections" in out
    assert "chats: 21,008 of 149 tokens" in out and "paged_adamw_32bit, batch 16 x 1 packed, checkpointed one layer in 1" in out
    # 6 FLOPs a weight and token, and what LoRA, attention and the head add.
    rows = [line.split() for line in out.splitlines() if line.startswith(" 4 x 4")]
    assert float(rows[0][-3]) == pytest.approx(6 * 6.98e9 * 21008 * 149 / 1e15, rel=0.05)
    advice = [line.split(": ", 1)[1].split("  (") for line in out.splitlines() if line.startswith(("24 GB", "16 GB", "12 GB"))]
    assert len(advice) == 6
    for (flags, memory), size in zip(advice, (24, 24, 16, 16, 12, 12), strict=True):
        settings = train.parse_args(flags.split())
        assert settings.batch_size * settings.gradient_accumulation == 16
        assert float(memory.split()[0]) * 1.15 <= size


def test_plan_takes_the_chats_that_are_there(stand_in, chats_file, capsys):
    train.main(["--plan", "--model", str(stand_in), "--data", str(chats_file)])
    out = capsys.readouterr().out
    assert "chats: 24 of " in out and f"({chats_file})" in out
