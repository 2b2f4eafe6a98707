"""Answers in every way they can be had, what is kept of them, and what is refused before a score could be wrong."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import load_file, save_file

import evaluate_hub
from conftest import ROOT, SAMPLE
from data_processing import (InputError, SYSTEM_PROMPTS, TAGS, load_split, mark_entities, parse_marked_sentence,
                             sample_rows)
from exaone import load_tokenizer

MEMORISED = ["--dataset", str(SAMPLE), "--split", "train", "--num_samples", "24"]
ALL = ["--dataset", str(SAMPLE), "--split", "train", "--num_samples", "48", "--precision", "float32", "--max_new_tokens", "100"]


@pytest.fixture(scope="module")
def recogniser(adapter, stand_in):
    """Model, tokenizer and the prompts of 48 sentences, half of them never seen in training; unquantised, in float32."""
    tokenizer = load_tokenizer(str(stand_in))
    prompts = evaluate_hub.encode_prompts(tokenizer, load_split(str(SAMPLE), "train")["sentence"], SYSTEM_PROMPTS["basic"])
    return evaluate_hub.load_recogniser(str(stand_in), None, "float32", adapter), tokenizer, prompts


@pytest.fixture(scope="module")
def unbroken(adapter, tmp_path_factory) -> dict:
    """The metrics of an evaluation that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    evaluate_hub.main(["--adapter", str(adapter), *ALL, "--output_dir", str(folder)])
    return json.loads((folder / "metrics.json").read_text())


def read_lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_memorised_sentences_score_one(adapter, tmp_path, capsys):
    evaluate_hub.main(["--adapter", str(adapter), *MEMORISED, "--min_f1", "0.99", "--output_dir", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "micro avg" in printed and "F1-Score: 1.0000" in printed
    header, *rows = read_lines(tmp_path)
    assert len(rows) == 24 and header["settings"]["prompt"] == "basic"
    assert all(row["stopped"] and row["tags"] == row["gold"] for row in rows)
    split = load_split(str(SAMPLE), "train")
    assert all(split[row["id"]]["tokens"] == row["tokens"] for row in rows)


def test_base_alone_knows_nothing(stand_in, tmp_path, capsys):
    with pytest.raises(SystemExit, match="F1 is under --min_f1 0.5"):
        evaluate_hub.main(["--adapter", "none", "--model", str(stand_in), *MEMORISED, "--max_new_tokens", "8",
                           "--min_f1", "0.5", "--output_dir", str(tmp_path)])
    assert not any(row["stopped"] for row in read_lines(tmp_path)[1:])


def test_sentences_of_ones_own_are_printed_marked(adapter, capsys):
    marked = [mark_entities(row["tokens"], [TAGS[tag] for tag in row["ner_tags"]])
              for row in sample_rows(load_split(str(SAMPLE), "train"), 24)][:4]
    plain = ["".join(parse_marked_sentence(line)[0]) for line in marked]
    evaluate_hub.main(["--adapter", str(adapter), "--text", *plain])
    assert capsys.readouterr().out.splitlines()[-4:] == marked
    assert any("<" in line for line in marked)


def collect(answers) -> list[str]:
    return [answer.text for answer in sorted(answers)]


def test_batches_answer_as_single_sentences_do(recogniser):
    """With the shared prefix and without, sixteen at a time and one: the same 48 answers."""
    model, tokenizer, prompts = recogniser
    prefix = evaluate_hub.find_shared_prefix(tokenizer, prompts, SYSTEM_PROMPTS["basic"])
    assert tokenizer.decode(prefix) == f"[|system|]{SYSTEM_PROMPTS['basic']}[|endofturn|]\n[|user|]"
    single, shared, padded = (collect(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts, given, size, 100))
                              for given, size in (([], 1), (prefix, 16), ([], 16)))
    assert single == shared == padded
    assert len(set(single)) > 24


def test_answers_are_those_of_generate(recogniser):
    """Transformers' own greedy generation, one sentence at a time."""
    model, tokenizer, prompts = recogniser
    ours = collect(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts[:12], [], 12, 60))
    theirs = [tokenizer.decode(model.generate(input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)),
                                              max_new_tokens=60, do_sample=False)[0, len(prompt):], skip_special_tokens=True)
              for prompt in prompts[:12]]
    assert ours == theirs


def test_finished_sentences_leave_the_batch(recogniser):
    model, tokenizer, prompts = recogniser
    sizes = []
    handle = model.get_base_model().lm_head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    answers = list(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts[:8], [], 8, 100))
    handle.remove()
    assert all(answer.stopped for answer in answers)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 8 and sizes[-1] < 8


def test_long_answers_are_left_and_taken_up_together(recogniser, monkeypatch):
    """Batches of 16: the last two of each are left where they are, and go on from there in a batch of their own."""
    model, tokenizer, prompts = recogniser
    single = collect(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts, [], 1, 100))
    calls, real = [], evaluate_hub.extend_batch

    def spy(model, end_tokens, pad_token, chats, limits, *rest):
        said = real(model, end_tokens, pad_token, chats, limits, *rest)
        calls.append([(list(chat), tokens, tokens[-1] not in end_tokens and len(tokens) < limit)
                      for chat, tokens, limit in zip(chats, said, limits, strict=True)])
        return said

    monkeypatch.setattr(evaluate_hub, "extend_batch", spy)
    batched = collect(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts, [], 16, 100))
    left = [chat + tokens for call in calls[:3] for chat, tokens, going_on in call if going_on]
    assert [len(call) for call in calls] == [16, 16, 16, len(left)] and 3 <= len(left) <= 6
    assert sorted(left) == sorted(chat for chat, _, _ in calls[3]) and not any(going_on for _, _, going_on in calls[3])
    assert batched == single


def test_prefix_is_computed_once(recogniser, monkeypatch):
    model, tokenizer, prompts = recogniser
    lengths = []
    embed = model.get_base_model().get_input_embeddings()
    handle = embed.register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape))
    prefix = evaluate_hub.find_shared_prefix(tokenizer, prompts, SYSTEM_PROMPTS["basic"])
    list(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts[:8], prefix, 4, 2))
    handle.remove()
    longest = max(len(prompt) for prompt in prompts[:8])
    assert lengths[0] == (1, len(prefix))
    assert all(length <= longest - len(prefix) for _, length in lengths[1:])


def test_batch_that_does_not_fit_is_halved(recogniser, monkeypatch, capsys):
    model, tokenizer, prompts = recogniser
    sizes = []
    real = evaluate_hub.extend_batch

    def cramped(model, end_tokens, pad_token, prompts, *rest):
        sizes.append(len(prompts))
        if len(prompts) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(model, end_tokens, pad_token, prompts, *rest)

    whole = collect(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts[:10], [], 10, 20))
    monkeypatch.setattr(evaluate_hub, "extend_batch", cramped)
    assert collect(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts[:10], [], 10, 20)) == whole
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert "out of memory with 10 sentences at a time; going on with 5" in capsys.readouterr().out

    monkeypatch.setattr(evaluate_hub, "extend_batch", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        list(evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], prompts[:10], [], 10, 20))


def test_token_limit_is_twice_the_longest_training_answer(stand_in):
    tokenizer = load_tokenizer(str(stand_in))
    marked = (SAMPLE / "train.txt").read_text(encoding="utf-8").splitlines()
    longest = max(marked, key=len)
    assert evaluate_hub.choose_max_new_tokens(tokenizer, str(SAMPLE)) > len(tokenizer(longest)["input_ids"])
    assert evaluate_hub.choose_max_new_tokens(tokenizer, "nowhere") == 512


def test_killed_evaluation_goes_on_to_the_same_metrics(adapter, unbroken, tmp_path, capsys):
    """SIGKILL after the first answers, with a line left half; the second run answers only the rest."""
    command = ["--adapter", str(adapter), *ALL, "--output_dir", str(tmp_path), "--batch_size", "4"]
    process = subprocess.Popen([sys.executable, ROOT / "evaluate_hub.py", *command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    path = tmp_path / "predictions.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (path.is_file() and path.read_bytes().count(b"\n") > 6):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "metrics.json").exists()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": 3, "tokens": ["봄"')

    evaluate_hub.main(command)
    before = int(capsys.readouterr().out.split("answered before: ")[1].split(",")[0])
    assert 4 < before < 48
    assert json.loads((tmp_path / "metrics.json").read_text()) == unbroken


def test_finished_evaluation_loads_no_model(adapter, tmp_path, monkeypatch):
    command = ["--adapter", str(adapter), *MEMORISED, "--output_dir", str(tmp_path)]
    evaluate_hub.main(command)
    (tmp_path / "metrics.json").unlink()
    monkeypatch.setattr(evaluate_hub, "load_model", lambda *_: pytest.fail("a model was loaded"))
    evaluate_hub.main([*command, "--batch_size", "1"])
    assert (tmp_path / "metrics.json").is_file()


@pytest.mark.parametrize("change, message", [
    (["--prompt", "strict"], "prompt: basic then, strict now"),
    (["--precision", "float32"], "precision: nf4 then, float32 now"),
    (["--num_samples", "20"], "num_samples: 24 then, 20 now"),
])
def test_answers_made_otherwise_are_not_mixed(adapter, tmp_path, change, message):
    command = ["--adapter", str(adapter), *MEMORISED, "--output_dir", str(tmp_path)]
    evaluate_hub.main(command)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*command, *change])
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


def test_two_processes_share_the_sentences(adapter, unbroken, tmp_path):
    command = ["launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
               "--dynamo_backend", "no", ROOT / "evaluate_hub.py", "--adapter", adapter, *ALL, "--output_dir", tmp_path]
    done = subprocess.run([sys.executable, "-m", "accelerate.commands.accelerate_cli", *map(str, command)],
                          capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "sentences: 48, answered before: 0, processes: 2" in done.stdout
    assert "24/24" in done.stderr and "48/48" not in done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text()) == unbroken
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.jsonl", "report.html"]


@pytest.fixture
def server(recogniser):
    """An OpenAI-compatible server around the stand-in, which fails once with 503; it keeps what it was sent."""
    model, tokenizer, _ = recogniser
    seen, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.append((self.path, self.headers.get("Authorization"), body))
                if len(seen) == 1:
                    return self.send_error(503)
                prompt = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)["input_ids"]
                [(_, text, stopped)] = evaluate_hub.generate_answers(model, tokenizer, [tokenizer.eos_token_id], [prompt], [], 1,
                                                                     body["max_tokens"])
            reply = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "usage": None,
                                "choices": [{"index": 0, "finish_reason": "stop" if stopped else "length",
                                             "message": {"role": "assistant", "content": text}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1", seen
        running.shutdown()


def evaluate_endpoint(url, folder) -> subprocess.CompletedProcess:
    """In a process of its own: huggingface_hub sends nothing at all where HF_HUB_OFFLINE was set when it was imported."""
    command = ["--endpoint", url, "--model", "stand-in", *ALL, "--output_dir", folder]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    return subprocess.run([sys.executable, ROOT / "evaluate_hub.py", *map(str, command)], capture_output=True, text=True,
                          env=environment | {"HF_TOKEN": "hf_secret", "no_proxy": "127.0.0.1"})


def test_endpoint_gives_the_same_metrics_and_never_sees_the_hub_s_token(server, unbroken, tmp_path):
    url, seen = server
    done = evaluate_endpoint(url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text()) | {"settings": None} == unbroken | {"settings": None}
    assert len(seen) == 49 and {path for path, _, _ in seen} == {"/v1/chat/completions"}
    assert all("hf_secret" not in str(authorization) for _, authorization, _ in seen)
    assert all(body["model"] == "stand-in" and body["temperature"] == 0 and body["max_tokens"] == 100 for _, _, body in seen)


def test_endpoint_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_hub, "ENDPOINT_TRIES", 1)
    with pytest.raises(InputError, match="http://127.0.0.1:9/v1: no answer from stand-in .*ENDPOINT_API_KEY"):
        evaluate_hub.main(["--endpoint", "http://127.0.0.1:9/v1", "--model", "stand-in", *MEMORISED,
                           "--output_dir", str(tmp_path)])
    with pytest.raises(SystemExit):
        evaluate_hub.main(["--endpoint", "http://127.0.0.1:9/v1", *MEMORISED])


def test_repository_s_generation_settings_have_no_say(adapter, stand_in, tmp_path):
    """A repetition penalty in the base's generation_config.json would keep the learnt answers from being said."""
    base = tmp_path / "EXAONE-base"
    shutil.copytree(stand_in, base)
    path = base / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"repetition_penalty": 2.0, "do_sample": True}))
    evaluate_hub.main(["--adapter", str(adapter), "--model", str(base), *MEMORISED, "--min_f1", "0.99",
                       "--output_dir", str(tmp_path / "evaluation")])


def test_prompt_reaches_the_model(adapter, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate_hub, "generate_answers",
                        lambda model, tokenizer, end_tokens, prompts, *rest: asked.append(tokenizer.decode(prompts[0])) or iter(()))
    for prompt in SYSTEM_PROMPTS:
        evaluate_hub.main(["--adapter", str(adapter), "--prompt", prompt, "--text", "봄"])
    assert asked == [f"[|system|]{prompt}[|endofturn|]\n[|user|]봄\n[|assistant|]" for prompt in SYSTEM_PROMPTS.values()]


def copy_adapter(adapter, tmp_path, change):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    return folder


@pytest.mark.parametrize("change, message", [
    (lambda t: {name.replace("layers.1.", "layers.7."): tensor for name, tensor in t.items()}, "28 of the adapter's 28"),
    (lambda t: {name.replace("o_proj", "p_proj"): tensor for name, tensor in t.items()}, "8 of the adapter's 28"),
    (lambda t: {name: tensor for name, tensor in t.items() if "layers.1." not in name}, "14 of the adapter's 14"),
    (lambda t: {}, "28 of the adapter's 0"),
    (lambda t: {name: torch.cat([tensor, tensor], dim=-1) for name, tensor in t.items()}, "tensors have other sizes"),
])
def test_adapter_that_did_not_load_whole_is_an_error(adapter, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        evaluate_hub.main(["--adapter", str(copy_adapter(adapter, tmp_path, change)), *MEMORISED,
                           "--output_dir", str(tmp_path / "evaluation")])


@pytest.mark.parametrize("arguments, message", [
    (["--adapter", "EXAONE-nowhere"], "EXAONE-nowhere: no such folder. Train it first"),
    (["--adapter", str(SAMPLE)], "holds no adapter_config.json"),
    (["--adapter", "someone/EXAONE-adapter"], "the hub cannot be reached"),
    (["--adapter", "none", "--dataset", "nowhere"], "nowhere: no such folder"),
    (["--adapter", "none", "--dataset", str(SAMPLE), "--split", "test"], "holds no test.txt"),
    (["--adapter", "none", "--text", "봄"], "the hub cannot be reached"),
    (["--adapter", "none", "--output_dir", "/proc/evaluation"], "cannot be written"),
])
def test_bad_input_is_told_before_any_model_loads(arguments, message, monkeypatch):
    monkeypatch.setattr(evaluate_hub, "load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*MEMORISED, *arguments] if "--dataset" not in arguments else arguments)


@pytest.mark.parametrize("flags, message", [(["--batch_size", "0"], "--batch_size"), (["--num_samples", "-3"], "--num_samples"),
                                            (["--max_new_tokens", "0"], "--max_new_tokens")])
def test_impossible_numbers_are_told_by_the_flag(flags, message, capsys):
    with pytest.raises(SystemExit):
        evaluate_hub.parse_args(flags)
    assert f"argument {message}" in capsys.readouterr().err


def test_prompt_is_the_one_the_adapter_was_trained_with(adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    assert evaluate_hub.choose_prompt(None, folder) == "basic"
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    record["data"]["source"]["prompt"] = "strict"
    (folder / "training.json").write_text(json.dumps(record))
    assert evaluate_hub.choose_prompt(None, folder) == "strict"
    assert evaluate_hub.choose_prompt("basic", folder) == "basic"
    assert evaluate_hub.choose_prompt(None, None) == "basic"


def test_base_and_its_revision_come_from_the_adapter(adapter, stand_in):
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(stand_in) and "revision" in config
