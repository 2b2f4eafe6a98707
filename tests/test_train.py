"""What the loss covers, what is trained, what a killed run leaves, and what is checked before and after."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import evaluate_hub
import train
import upload_hub
from conftest import ROOT
from data_processing import InputError
from exaone import find_end_tokens, hash_adapter, load_model, load_tokenizer

SHORT = ["--batch_size", "4", "--gradient_accumulation", "1", "--epochs", "2", "--save_steps", "4", "--logging_steps", "1"]


def arguments(stand_in, chats_file, folder, *more) -> list[str]:
    return ["--model", str(stand_in), "--data", str(chats_file), "--output_dir", str(folder / "adapter"),
            "--checkpoint_dir", str(folder / "results"), *more]


@pytest.fixture(scope="module")
def trainer(stand_in, chats_file, tmp_path_factory):
    """The trainer as main() builds it, before the first step."""
    args = train.parse_args(arguments(stand_in, chats_file, tmp_path_factory.mktemp("run")))
    tokenizer = load_tokenizer(args.model)
    dataset = train.encode_chats(train.load_chats(args.data), tokenizer, find_end_tokens(args.model, tokenizer), 1024)
    return train.build_trainer(load_model(args.model), tokenizer, dataset, *train.build_configs(args, None), True, False)


def test_loss_covers_the_answer_and_its_end_marker_alone(trainer, chats_file):
    """Looked at in the batches that the model is given, after everything that TRL does to a data set."""
    tokenizer = trainer.processing_class
    expected = {messages[1]["content"]: messages for messages in train.load_chats(chats_file)}
    seen = 0
    for batch in trainer.get_train_dataloader():
        for input_ids, labels, attended in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            length = attended.sum()
            text = tokenizer.decode(input_ids[:length])
            messages = expected[text.split("[|user|]")[1].split("\n[|assistant|]")[0]]
            answer = messages[2]["content"] + "[|endofturn|]"
            assert text == (f"[|system|]{messages[0]['content']}[|endofturn|]\n[|user|]{messages[1]['content']}\n"
                            f"[|assistant|]{answer}")
            under_loss = labels != -100
            assert tokenizer.decode(labels[under_loss]) == answer
            assert torch.equal(labels[under_loss], input_ids[under_loss])
            assert labels[length - 1] == tokenizer.eos_token_id and not under_loss[length:].any()
            assert (input_ids[length:] == tokenizer.pad_token_id).all() and tokenizer.pad_token == "[PAD]"
            seen += 1
    assert seen == 24


def test_template_s_newline_is_what_is_left_off(trainer):
    messages = [{"role": "user", "content": "봄"}, {"role": "assistant", "content": "{}"}]
    tokenizer = trainer.processing_class
    row = train.encode_chat(messages, tokenizer, [tokenizer.eos_token_id])
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert tokenizer.decode(whole[len(row["input_ids"]):]) == "\n"


@pytest.mark.parametrize("template, message", [
    ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no end marker"),
    ("{% for m in messages %}{{ loop.length }}{{ m['content'] }}[|endofturn|]{% endfor %}", "differently once an answer follows"),
])
def test_chat_template_that_cannot_be_trained_on(trainer, template, message, monkeypatch):
    monkeypatch.setattr(trainer.processing_class, "chat_template", template)
    with pytest.raises(InputError, match=message):
        train.encode_chat([{"role": "user", "content": "봄"}, {"role": "assistant", "content": "{}"}],
                          trainer.processing_class, [trainer.processing_class.eos_token_id])


def test_order_follows_from_seed_and_epoch(trainer):
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    orders = []
    for epoch in (0, 1):
        order = train.EpochOrder(lengths, 4, seed=42)
        order.set_epoch(epoch)
        torch.rand(1)
        orders.append(list(order))
        assert orders[-1] == list(order) and sorted(orders[-1]) == list(range(24))
    assert orders[0] != orders[1]


def test_batches_hold_chats_of_similar_length():
    lengths = [50 + 37 * i % 151 for i in range(400)]

    def spread(order) -> float:
        return sum(max(lengths[i] for i in batch) - min(lengths[i] for i in batch)
                   for batch in (order[i:i + 4] for i in range(0, 400, 4)))

    grouped, plain = (list(train.EpochOrder(lengths, size, seed=42)) for size in (16, None))
    assert sorted(grouped) == sorted(plain) == list(range(400))
    assert spread(grouped) < 0.2 * spread(plain)


def test_post_s_hyperparameters_are_the_defaults(trainer):
    config, lora = trainer.args, trainer.model.peft_config["default"]
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (32, 16, 0.05)
    assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 4 * 4
    assert (config.learning_rate, config.lr_scheduler_type, config.warmup_steps) == (2e-4, "cosine", 0.03)
    assert (config.num_train_epochs, config.save_steps, config.logging_steps) == (1, 500, 50)
    assert (config.weight_decay, config.max_grad_norm, config.bf16) == (0.001, 0.3, True)
    assert trainer.group_by_length
    cuda = torch.cuda.is_available()
    assert config.optim == ("paged_adamw_32bit" if cuda else "adamw_torch")
    assert config.activation_checkpointing is cuda


def test_every_flag_of_the_recipe_reaches_the_trainer(tmp_path):
    config, lora = train.build_configs(train.parse_args([
        "--lora_r", "3", "--lora_alpha", "5", "--lora_dropout", "0.25", "--batch_size", "6", "--gradient_accumulation", "7",
        "--learning_rate", "0.125", "--lr_scheduler", "linear", "--warmup", "11", "--epochs", "2.5", "--max_steps", "13",
        "--optim", "sgd", "--weight_decay", "0.5", "--max_grad_norm", "0.75", "--activation_checkpointing", "--seed", "17",
        "--checkpoint_every", "29",
        "--save_steps", "19", "--logging_steps", "23", "--precision", "float32", "--checkpoint_dir", str(tmp_path)]), "c0ffee")
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.revision) == (3, 5, 0.25, "c0ffee")
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps, config.learning_rate) == (6, 7, 0.125)
    assert (config.lr_scheduler_type, config.warmup_steps, config.num_train_epochs, config.max_steps) == ("linear", 11, 2.5, 13)
    assert (config.optim, config.weight_decay, config.max_grad_norm, config.seed) == ("sgd", 0.5, 0.75, 17)
    assert (config.save_steps, config.logging_steps, config.bf16, config.output_dir) == (19, 23, False, str(tmp_path))
    assert config.activation_checkpointing and config.activation_checkpointing_kwargs == {"every_n_layers": 29}


@pytest.mark.parametrize("flags", [["--lr_scheduler", "foo"], ["--optim", "foo"]])
def test_setting_that_no_library_knows_is_told_before_any_model_loads(stand_in, chats_file, tmp_path, flags, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match="a setting that is not known: .*foo"):
        train.main([*arguments(stand_in, chats_file, tmp_path), *flags])


@pytest.mark.parametrize("flag, value", [("--batch_size", "0"), ("--gradient_accumulation", "0"), ("--lora_r", "-1"),
                                         ("--lora_dropout", "2"), ("--warmup", "-1"), ("--logging_steps", "0")])
def test_impossible_numbers_are_told_by_the_flag(flag, value, capsys):
    with pytest.raises(SystemExit):
        train.parse_args([flag, value])
    assert f"argument {flag}" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a missing GPU")
def test_large_model_without_a_gpu_is_told_before_it_is_loaded(stand_in, chats_file, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("a model was loaded"))
    large = tmp_path / "EXAONE-large"
    shutil.copytree(stand_in, large)
    config = json.loads((large / "config.json").read_text())
    (large / "config.json").write_text(json.dumps(config | {"hidden_size": 4096, "intermediate_size": 14336, "num_layers": 32,
                                                            "head_dim": 128}))
    with pytest.raises(InputError, match="needs a CUDA GPU"):
        train.main(arguments(large, chats_file, tmp_path))


def test_checkpointing_gives_the_same_adapter(stand_in, chats_file, tmp_path):
    adapters = []
    for name, flags in (("with", ["--activation_checkpointing"]), ("without", ["--no-activation_checkpointing"]),
                        ("half", ["--activation_checkpointing", "--checkpoint_every", "2"])):
        train.main([*arguments(stand_in, chats_file, tmp_path / name), "--max_steps", "3", *flags])
        adapters.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert adapters[0] == adapters[1] == adapters[2]


def test_adapter_is_checked_before_it_takes_its_place(stand_in, chats_file, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("refused")

    monkeypatch.setattr(train, "check_adapter", refuse)
    with pytest.raises(RuntimeError, match="refused"):
        train.main([*arguments(stand_in, chats_file, tmp_path), "--max_steps", "2"])
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_all_seven_projections_of_every_layer_are_trained(adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    expected = {f"base_model.model.model.layers.{layer}.{part}.lora_{side}.weight"
                for layer in (0, 1) for side in "AB"
                for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
    assert tensors.keys() == expected
    assert all(tensor.abs().sum() > 0 and tensor.dtype == torch.float32 for tensor in tensors.values())


def test_adapter_folder_says_how_it_came_to_be(adapter, stand_in, chats_file):
    record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    source = json.loads(chats_file.with_name("train.source.json").read_text(encoding="utf-8"))
    assert record["base"] == {"name": str(stand_in), "revision": None}
    assert record["data"] == {"sha256": source["sha256"], "source": source}
    assert record["settings"]["lora_r"] == 32 and record["settings"]["max_steps"] == 120
    assert record["versions"].keys() == {"python", *train.PACKAGES}
    assert record["steps"] == 120 and any("loss" in line for line in record["log"])
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= {p.name for p in adapter.iterdir()}
    assert list((adapter.parent / "results" / "runs").rglob("events.out.tfevents.*"))


def start(command: list[str], log) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-u", ROOT / "train.py", *command], stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def unbroken(stand_in, chats_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    train.main(arguments(stand_in, chats_file, folder, *SHORT))
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("moment", ["before the first checkpoint", "in the second epoch"])
def test_killed_run_resumes_to_the_same_adapter(stand_in, chats_file, tmp_path, unbroken, moment, capfd):
    """12 steps, 6 an epoch, dropout and length grouping on; SIGKILL, then --resume. Equal to the bit.

    Kills at random moments, within the writing of a checkpoint too, are in test_faults.py.
    """
    command = arguments(stand_in, chats_file, tmp_path, *SHORT)
    results, log = tmp_path / "results", tmp_path / "log"
    reached = {
        "before the first checkpoint": lambda: log.read_text().count("'loss'") >= 1,
        "in the second epoch": lambda: (results / "checkpoint-8" / "files.json").exists(),
    }[moment]
    with log.open("w") as output:
        process = start(command, output)
        deadline = time.monotonic() + 120
        while not reached() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, log.read_text()
    assert not (tmp_path / "adapter").exists()

    train.main([*command, "--resume"])
    assert ("resuming from" in capfd.readouterr().out) == moment.startswith("in the")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == unbroken


def test_finished_run_is_not_trained_further(stand_in, chats_file, tmp_path):
    """Killed while the adapter was saved: 5 steps, which end in the middle of an epoch."""
    command = arguments(stand_in, chats_file, tmp_path, "--max_steps", "5", "--save_steps", "5", "--batch_size", "4",
                        "--gradient_accumulation", "1", "--lr_scheduler", "constant")
    train.main(command)
    adapter = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    for _ in range(2):
        shutil.rmtree(tmp_path / "adapter")
        train.main([*command, "--resume"])
        assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == adapter
        assert json.loads((tmp_path / "adapter" / "training.json").read_text())["steps"] == 5


def test_damaged_checkpoint_is_passed_over(stand_in, chats_file, tmp_path, unbroken, capfd):
    command = arguments(stand_in, chats_file, tmp_path, *SHORT)
    train.main(command)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    last = max((tmp_path / "results").glob("checkpoint-*"), key=os.path.getmtime)
    with (last / "optimizer.pt").open("r+b") as file:
        file.truncate(1000)
    train.main([*command, "--resume"])
    out = capfd.readouterr().out
    assert "checkpoint-12 is not whole" in out and "resuming from" in out and "checkpoint-8" in out
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == unbroken


def test_run_is_not_mixed_with_another(stand_in, chats_file, tmp_path):
    command = arguments(stand_in, chats_file, tmp_path, "--max_steps", "1", "--save_steps", "1",
                        "--warmup", "0")
    train.main(command)
    with pytest.raises(InputError, match="holds checkpoint-1 of an earlier run. Go on with it: --resume"):
        train.main(command)
    with pytest.raises(InputError, match=r"begun otherwise.*\n  settings.learning_rate: 0.0002 then, 0.001 now"):
        train.main([*command, "--resume", "--learning_rate", "1e-3"])
    (tmp_path / "results" / "training.json").unlink()
    with pytest.raises(InputError, match="no training.json that says how they came to be"):
        train.main([*command, "--resume"])


GOOD = '{"messages": [{"role": "user", "content": "봄"}, {"role": "assistant", "content": "{}"}]}\n'


@pytest.mark.parametrize("content, message", [
    (None, "train.jsonl: not found. Write it first: python data_processing.py"),
    ("", "holds no chat"),
    (GOOD + '{"messages": [{"role": "user"\n', r"train.jsonl:2: expected .*JSONDecodeError"),
    (GOOD + '{"text": "봄"}\n', r"train.jsonl:2: expected .*KeyError: 'messages'"),
    (GOOD + '["messages"]\n', r"train.jsonl:2: expected .*TypeError"),
    (b"\xff", "not UTF-8"),
    (GOOD.replace("assistant", "user"), "train.jsonl:1: expected the roles system, user, assistant, found user, user"),
    (GOOD.replace('"{}"', "{}"), "train.jsonl:1: every content must be a string"),
])
def test_bad_chats_are_told_before_any_model_loads(tmp_path, content, message, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("a model was loaded"))
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        train.main(["--data", str(path), "--output_dir", str(tmp_path / "adapter")])


def test_last_line_needs_no_newline(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(GOOD + GOOD.strip(), encoding="utf-8")
    assert len(train.load_chats(path)) == 2


def test_bad_places_are_told_before_any_model_loads(stand_in, chats_file, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("a model was loaded"))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "thesis.txt").touch()
    with pytest.raises(InputError, match="holds other things"):
        train.main(arguments(stand_in, chats_file, tmp_path))
    with pytest.raises(InputError, match="cannot be written"):
        train.main([*arguments(stand_in, chats_file, tmp_path), "--output_dir", "/proc/adapter"])
    with pytest.raises(InputError, match="cannot be written"):
        train.main([*arguments(stand_in, chats_file, tmp_path / "new"), "--checkpoint_dir", "/proc/results"])
    with pytest.raises(InputError, match="longer than --max_length 10 tokens"):
        train.main([*arguments(stand_in, chats_file, tmp_path / "new"), "--max_length", "10"])


def test_long_chats_are_left_out_and_counted(trainer, chats_file, capsys):
    chats = train.load_chats(chats_file)
    lengths = sorted(len(train.encode_chat(chat, trainer.processing_class, [7])["input_ids"]) for chat in chats)
    dataset = train.encode_chats(chats, trainer.processing_class, [7], max_length=lengths[20])
    left_out = sum(length > lengths[20] for length in lengths)
    assert left_out and len(dataset) == 24 - left_out
    assert f"{left_out} left out as longer than {lengths[20]} tokens" in capsys.readouterr().out


def test_adapter_that_is_not_the_trained_one_is_refused(trainer, tmp_path):
    """In turn: untrained; trained but saved with a change; saved without a tensor; trained and saved."""
    model, row = trainer.model, trainer.train_dataset[0]
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(RuntimeError, match="the adapter is empty"):
        train.check_adapter(model, tmp_path, row)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(1e-30)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(RuntimeError, match="does not change the model's answer"):
        train.check_adapter(model, tmp_path, row)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.01)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    train.check_adapter(model, tmp_path, row)

    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] + 1}, path)
    with pytest.raises(RuntimeError, match="1 saved tensors are not the trained ones"):
        train.check_adapter(model, tmp_path, row)
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    with pytest.raises(RuntimeError, match="1 saved tensors are not the trained ones"):
        train.check_adapter(model, tmp_path, row)


STEPS = ["--batch_size", "4", "--gradient_accumulation", "1", "--max_steps", "6", "--save_steps", "2", "--activation_checkpointing"]
VALIDATION = [*STEPS, "--validation", "6"]


def test_held_out_chats_are_not_trained_on(chats_file):
    chats = train.load_chats(chats_file)
    twin = [chats[0][0], chats[0][1], {"role": "assistant", "content": "{}"}]
    for seed in range(10):
        rest, held = train.hold_out([*chats, twin], 6, seed)
        asked, trained = ({chat[1]["content"] for chat in side} for side in (held, rest))
        assert len(held) == 6 and not asked & trained and len(rest) == 19 - (chats[0][1]["content"] in asked) * (held.count(twin) + held.count(chats[0]) < 2)
    assert train.hold_out(chats, 0, 1) == (chats, [])
    with pytest.raises(InputError, match="--validation 24 leaves no chat"):
        train.hold_out(chats, 24, 1)


def test_compiler_is_looked_for_before_any_model_loads(monkeypatch, tmp_path):
    train.check_compiler()  # nothing is built on a CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(train.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(InputError, match="Python.h is not there.*apt-get install python3.*-dev"):
        train.check_compiler()
    (tmp_path / "Python.h").touch()
    train.check_compiler()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no C compiler"):
        train.check_compiler()


def test_validation_scores_answers(adapter, stand_in, chats_file, tmp_path):
    """The sentences that the adapter has memorised score 1, by the way that evaluate_hub.py goes; without it, nothing."""
    tokenizer = load_tokenizer(str(stand_in))
    validation = train.ScoreValidation(train.load_chats(chats_file), tokenizer, [tokenizer.eos_token_id], tmp_path)
    model = evaluate_hub.load_recogniser(str(stand_in), None, "nf4", adapter)
    # In the base's precision, as autocast computed with it in training.
    assert {tensor.dtype for name, tensor in model.named_parameters() if "lora_" in name} == {torch.bfloat16}
    assert validation.score(model) > 0.99 and model.training
    with model.disable_adapter():
        assert validation.score(model) < 0.1


def test_best_adapter_is_kept(stand_in, chats_file, tmp_path, monkeypatch, capsys):
    """Of checkpoints 2, 4 and 6 the second scores best; resumed after the end, too."""
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(train.ScoreValidation, "score", lambda self, model: next(scores))
    command = [*arguments(stand_in, chats_file, tmp_path), *VALIDATION]
    train.main(command)
    assert "step 4, F1 0.9000" in capsys.readouterr().out
    saved, best, last = (load_file(folder / "adapter_model.safetensors")
                         for folder in (tmp_path / "adapter", *(tmp_path / "results" / f"checkpoint-{step}" for step in (4, 6))))
    assert all(torch.equal(saved[name], best[name]) for name in best) and any(not torch.equal(last[name], best[name]) for name in best)
    log = json.loads((tmp_path / "adapter" / "training.json").read_text())["log"]
    assert [(line["step"], line["validation_f1"]) for line in log if "validation_f1" in line] == [(2, 0.2), (4, 0.9), (6, 0.5)]
    state = json.loads((tmp_path / "results" / "checkpoint-6" / "trainer_state.json").read_text())
    assert state["log_history"] == log[:len(state["log_history"])] and state["log_history"][-1]["validation_f1"] == 0.5
    assert train.is_whole(tmp_path / "results" / "checkpoint-6")
    shutil.rmtree(tmp_path / "adapter")
    train.main([*command, "--resume"])
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == (tmp_path / "results" / "best" / "adapter_model.safetensors").read_bytes()


def test_validation_changes_nothing_that_is_learned(stand_in, chats_file, tmp_path):
    """Dropout on: answering in between moves no random number. The same chats are held out of both runs."""
    train.main([*arguments(stand_in, chats_file, tmp_path / "scored"), *VALIDATION])
    chats, _ = train.hold_out(train.load_chats(chats_file), 6, 42)
    rest = tmp_path / "rest.jsonl"
    rest.write_text("".join(json.dumps({"messages": chat}, ensure_ascii=False) + "\n" for chat in chats), encoding="utf-8")
    train.main([*arguments(stand_in, rest, tmp_path / "plain"), *STEPS])
    adapters = [(tmp_path / name / "results" / "checkpoint-6" / "adapter_model.safetensors").read_bytes() for name in ("scored", "plain")]
    assert adapters[0] == adapters[1]


# Training an adapter further.


def publish(adapter, folder):
    """The adapter under EXAONE's names, as the hub gives it."""
    folder.mkdir()
    for name, content in upload_hub.collect_files(adapter, "alice/EXAONE-base", True).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("naming", ["llama", "exaone"])
def test_adapter_is_where_further_training_starts(adapter, stand_in, chats_file, tmp_path, naming):
    """At a learning rate of 0 it comes out as it went in, to the bit; under Llama's names, as PEFT writes it."""
    start = adapter if naming == "llama" else publish(adapter, tmp_path / "published")
    train.main(arguments(stand_in, chats_file, tmp_path, "--adapter", str(start), "--max_steps", "1", "--learning_rate", "0"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
    config, before = (json.loads((folder / "adapter_config.json").read_text()) for folder in (tmp_path / "adapter", adapter))
    assert sorted(config.pop("target_modules")) == sorted(before.pop("target_modules")) and config == before
    run = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert run["adapter"] == {"source": str(start), "sha256": hash_adapter(adapter)}
    assert run["log"][0]["loss"] < 0.1 if "loss" in run["log"][0] else run["log"][0]["train_loss"] < 0.1


def test_further_training_changes_the_adapter_and_resumes(adapter, stand_in, chats_file, tmp_path):
    command = arguments(stand_in, chats_file, tmp_path, "--adapter", str(adapter), "--max_steps", "2", "--save_steps", "1",
                        "--lr_scheduler", "constant", "--warmup", "0")
    train.main(command)
    trained = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    assert trained != (adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "results" / "checkpoint-2")
    train.main([*command, "--resume"])
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == trained
    with pytest.raises(InputError, match="begun otherwise.*\n  adapter.sha256: .* then, None now"):
        train.main([*arguments(stand_in, chats_file, tmp_path, *command[10:]), "--resume"])


@pytest.mark.parametrize("flags, message", [
    (["--lora_r", "8"], "--lora_r 8: the adapter to be trained further, .*, has 32, and keeps it. Leave the flag out"),
    (["--lora_alpha", "32"], "--lora_alpha 32: .* has 16"),
    (["--lora_dropout", "0.0"], "--lora_dropout 0.0: .* has 0.05"),
    (["--lora_targets", "all"], "--lora_targets all: .* keeps its own"),
])
def test_flags_that_contradict_the_adapter(adapter, chats_file, tmp_path, flags, message, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match=message):
        train.main(["--adapter", str(adapter), "--data", str(chats_file), "--output_dir", str(tmp_path / "new"),
                    "--checkpoint_dir", str(tmp_path / "results"), *flags])


def test_adapter_decides_what_no_flag_says(adapter, stand_in, tmp_path):
    shutil.copytree(adapter, tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"r": 8, "lora_alpha": 4, "revision": "f00d"}))
    args = train.parse_args(["--adapter", str(tmp_path / "adapter"), "--lora_r", "8"])
    train.take_settings(args, tmp_path / "adapter")
    assert (args.lora_r, args.lora_alpha, args.lora_dropout, args.model, args.revision) == (8, 4, 0.05, str(stand_in), "f00d")
    args = train.parse_args(["--adapter", str(tmp_path / "adapter"), "--model", "alice/copy"])
    train.take_settings(args, tmp_path / "adapter")
    assert (args.model, args.revision) == ("alice/copy", None)


def test_other_kinds_of_adapters_are_refused(adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(InputError, match="is a IA3 adapter; only LoRA"):
        train.take_settings(train.parse_args(["--adapter", "x"]), tmp_path / "adapter")
