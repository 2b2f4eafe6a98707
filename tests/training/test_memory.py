"""The computed memory agrees with the tensors that training holds."""

import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ner.model.device import estimate_weight_bytes
from ner.model.exaone import ExaoneConfig, ExaoneForCausalLM
from ner.model.hub import Base
from ner.model.loading import build_empty, load_config
from ner.model.tokenizer import load_tokenizer
from ner.training.memory import (
    ChatLengths,
    TokenCost,
    count_tokens,
    estimate_layer,
    estimate_memory,
    estimate_optimizer,
    measure_lengths,
    measure_token_cost,
)
from ner.training.trainer import build_lora
from tests.training.helpers import build_command, encode_data, make_settings, make_trainer


def get_storages(*values) -> dict[int, torch.UntypedStorage]:
    """The storages of all tensors in nested values, each once."""
    tensors = [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
    return {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}


def count_bytes(*values) -> int:
    return sum(storage.nbytes() for storage in get_storages(*values).values())


def list_weights(model) -> list[torch.Tensor]:
    """Frozen weights and buffers, and what NF4 needs to read them."""
    weights = [*model.buffers()]
    for parameter in model.parameters():
        if parameter.requires_grad:
            continue
        weights.append(parameter)
        if hasattr(parameter, "quant_state"):
            state = parameter.quant_state
            weights += [state.absmax, state.code, state.offset]
            weights += [state.state2.absmax, state.state2.code]
    return weights


class SavedTensors:
    """Runs a trainer's loss and notes the batch, and what autograd saves besides the weights."""

    def __init__(self, trainer, weights: list[torch.Tensor]):
        self.compute_loss, self.weights = trainer.compute_loss, weights
        self.batch: dict = {}
        self.bytes = 0

    def __call__(self, model, inputs, **kwargs):
        known = get_storages(self.weights, dict(inputs))
        self.batch = {name: value for name, value in inputs.items() if name != "labels"}
        saved = []

        def save(tensor):
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            loss = self.compute_loss(model, inputs, **kwargs)
        storages = get_storages(saved)
        self.bytes = sum(storages[key].nbytes() for key in storages.keys() - known.keys())
        return loss


class PeakBytes(TorchDispatchMode):
    """Measures the peak memory of the tensors that are created under it."""

    def __init__(self):
        super().__init__()
        self.live, self.now, self.peak = set(), 0, 0

    def free(self, key: int, size: int) -> None:
        self.live.remove(key)
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        known = get_storages(args, kwargs).keys() | self.live
        result = function(*args, **(kwargs or {}))
        for key, storage in get_storages(result).items():
            if key not in known:
                self.live.add(key)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, key, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result


def measure_peak(trainer, batch: dict) -> int:
    """The peak of a forward and backward pass without the head."""
    trainer.optimizer.zero_grad()
    with PeakBytes() as memory:
        with trainer.accelerator.autocast():
            model = trainer.model.get_base_model().base_model
            hidden = model(**batch).last_hidden_state
        hidden.backward(torch.ones_like(hidden))
    return memory.peak


@pytest.fixture(scope="module")
def larger(stand_in, tmp_path_factory) -> Path:
    """The stand-in's tokenizer and six wider layers of random weights."""
    folder = tmp_path_factory.mktemp("model") / "EXAONE-larger"
    load_tokenizer(Base(str(stand_in))).save_pretrained(folder)
    config = ExaoneConfig(
        vocab_size=2000,
        hidden_size=256,
        intermediate_size=896,
        num_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
    )
    ExaoneForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def even_chats(chats_file, tmp_path_factory) -> Path:
    """Eight chats of one length, as the computed micro-batch has them."""
    path = tmp_path_factory.mktemp("even") / "train.jsonl"
    chat = json.loads(chats_file.read_text(encoding="utf-8").splitlines()[0])
    sentence = chat["messages"][1]["content"]
    lines = []
    for number in range(8):
        chat["messages"][1]["content"] = f"{number}{sentence}"
        lines.append(json.dumps(chat, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def cuda_memory(monkeypatch) -> None:
    """Make a CPU keep the same tensors as CUDA.

    CUDA's dropout keeps a byte per element. PEFT asks only whether CUDA's autocast is on.
    """
    enabled = torch.is_autocast_enabled

    def drop_out(hidden, p, training, inplace):
        return torch.native_dropout(hidden, p, training)[0]

    monkeypatch.setattr(torch.nn.functional, "dropout", drop_out)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device="cpu": enabled(device))


@pytest.mark.parametrize(
    ("base", "precision", "flags"),
    [
        ("stand_in", "nf4", "--no-activation_checkpointing --no-pack"),
        ("stand_in", "nf4", "--activation_checkpointing"),
        ("stand_in", "float32", "--no-activation_checkpointing"),
        ("stand_in", "float32", "--activation_checkpointing --no-pack"),
        ("larger", "nf4", "--no-activation_checkpointing --lora_r 8"),
        (
            "larger",
            "nf4",
            "--activation_checkpointing --checkpoint_every 2 --optim adamw_8bit",
        ),
        ("larger", "bfloat16", "--activation_checkpointing --no-pack"),
        ("larger", "float32", "--activation_checkpointing --checkpoint_every 4 --optim sgd"),
    ],
)
@pytest.mark.usefixtures("cuda_memory")
def test_computed_memory_is_that_of_the_tensors_held(
    base, precision, flags, chats_file, even_chats, tmp_path, monkeypatch, request
):
    base = Base(str(request.getfixturevalue(base)))
    # Chats of one length would need no mask, even unpacked.
    data = chats_file if "--no-pack" in flags else even_chats
    settings = make_settings(
        *build_command(base.name, data, tmp_path, "--precision", precision),
        *("--batch_size", "8", "--gradient_accumulation", "1", "--max_steps", "1"),
        *flags.split(),
    )
    trainer = make_trainer(settings)
    adapter = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    weights = list_weights(trainer.model)
    saved = SavedTensors(trainer, [*weights, *adapter])
    monkeypatch.setattr(trainer, "compute_loss", saved)
    trainer.train()
    measured = {
        "base weights": count_bytes(weights),
        "adapter": count_bytes(adapter),
        "activations": saved.bytes,
        "optimizer": count_bytes([*trainer.optimizer.state.values()]),
        "peak": measure_peak(trainer, saved.batch),
    }

    config = load_config(base)
    model = build_empty(config)
    cost = measure_token_cost(config, build_lora(settings, base), precision)
    tokens = saved.batch["input_ids"].numel()
    prefix = tokens - len(saved.batch.get("chat_slots", range(tokens)))
    longest = prefix + (tokens - prefix) / settings.batch_size
    lengths = ChatLengths(chats=8, mean=1, longest=longest, prefix=prefix, answer=0)
    computed = estimate_memory(model, cost, settings, lengths)
    computed["peak"] = sum(
        computed[name] for name in ("activations", "backward", "one dequantized matrix")
    )
    # A CPU scores every token, and keeps the head's input.
    width = 4 if precision == "float32" else 2
    computed["activations"] += tokens * config.hidden_size * width
    assert {name: computed[name] for name in measured} == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(
    ("targets", "modules"),
    [
        ("all", 2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)),
        ("qkv", (4096 + 4096) + 2 * (4096 + 1024)),
    ],
)
def test_trained_parameters_are_what_the_architecture_says(targets, modules):
    """By hand, for three layers of EXAONE: rank times inputs plus outputs of each projection."""
    config = ExaoneConfig(num_layers=3)
    lora = build_lora(make_settings("--lora_targets", targets), Base("alice/base"))
    before = lora.target_modules
    cost = measure_token_cost(config, lora, "nf4")
    assert cost.adapter == 3 * 32 * modules
    assert lora.target_modules == before  # PEFT edits the configuration it gets


def test_weights_of_the_real_model():
    """By hand: embeddings, head and norms in two bytes per value, the projections in 4.127 bits."""
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    rest = 2 * 102400 * 4096 + (2 * 32 + 1) * 4096
    model = build_empty(ExaoneConfig())
    nf4 = 2 * rest + 4.127 / 8 * 32 * layer
    assert estimate_weight_bytes(model, "nf4") == pytest.approx(nf4)
    assert estimate_weight_bytes(model, "bfloat16") == 2 * (rest + 32 * layer)
    assert estimate_weight_bytes(model, "float32") == 4 * (rest + 32 * layer)


@pytest.mark.parametrize(
    ("optimizer", "size"),
    [
        ("adamw_torch", 8 * 256),
        ("paged_adamw_32bit", 8 * 256),
        ("adamw_8bit", 2 * (256 + 4)),
        ("paged_lion_8bit", 256 + 4),
        ("rmsprop", 4 * 256),
        ("sgd", 0),
    ],
)
def test_moments_of_an_optimizer(optimizer, size):
    """By hand, for 256 parameters. A moment in 8 bits has one scale of 4 bytes for all of them."""
    assert estimate_optimizer(optimizer, 256) == size


@pytest.mark.parametrize(
    ("flags", "width", "values"),
    [
        (["--precision", "float32", "--no-pack"], 4, 16 * 300 * 300),
        (["--precision", "bfloat16", "--no-pack"], 2, 16 * 300 * 300),
        # The mask, and keys and values that begin with the prefix, and the joined results.
        (
            ["--precision", "float32", "--pack"],
            4,
            (300 - 85) * 300 + 4096 * (2 * 16 * 85 + 85 + 16 * (300 - 85)),
        ),
    ],
)
def test_a_layer_holds_masks_and_packed_keys(flags, width, values):
    """By hand, for EXAONE and chats of 300 tokens without any other memory cost."""
    lengths = ChatLengths(chats=1, mean=149, longest=300, prefix=85, answer=22)
    free = TokenCost(layer_bytes=0, input_bytes=0, adapter=0)
    model = build_empty(ExaoneConfig(num_layers=1))
    assert estimate_layer(model, free, make_settings(*flags), lengths) == width * values


@pytest.mark.parametrize(
    ("flags", "tokens"), [(["--no-pack"], 16 * 149), (["--pack"], 85 + 16 * (149 - 85))]
)
def test_tokens_of_a_micro_batch(flags, tokens):
    """By hand: packed, the prefix counts once."""
    lengths = ChatLengths(chats=21008, mean=149, longest=300, prefix=85, answer=22)
    settings = make_settings(*flags)
    assert count_tokens(lengths, settings, lengths.mean) == tokens
    halved = replace(settings, batch_size=8)
    prefix = 85 if settings.pack else 0
    assert count_tokens(lengths, halved, lengths.mean) == prefix + (tokens - prefix) / 2


def test_lengths_of_chats(stand_in, even_chats, tmp_path):
    """All are of one length. Their sentences differ from the first character on."""
    settings = make_settings(*build_command(stand_in, even_chats, tmp_path))
    dataset, tokenizer = encode_data(settings)
    row = dataset[0]
    text = tokenizer.decode(row["input_ids"])
    prompt = text[: text.index("[|user|]") + len("[|user|]")]
    lengths = measure_lengths(dataset)
    assert (lengths.chats, lengths.mean, lengths.longest) == (8, len(row["labels"]), lengths.mean)
    assert lengths.prefix == len(tokenizer(prompt)["input_ids"])
    assert lengths.answer == sum(label != -100 for label in row["labels"])
