"""The whole pipeline on a loopback hub: an adapter goes there and back, and the base changes."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tests.helpers import ROOT, SAMPLE
from tests.hub_client import HubClient
from tests.loopback_hub import TOKENS, LoopbackHub, add_base, run_python
from tests.publishing.helpers import PUBLISHED_FILES, change_json

SENTENCE = "손흥민은 춘천에서 태어났다."
MOVING_BASE = "alice/EXAONE-moving"
THRESHOLD = 1e-05  # below every confidence of the adapter
# Runs two plans and prints the seconds of each.
PLANS = """
import sys, time, train

for flags in ([], ["--model", "alice/base"]):
    start = time.monotonic()
    try:
        train.run_script(lambda: train.main(["--plan", *flags, *sys.argv[1:]]))
    except SystemExit as stop:
        print(stop)
    print("SECONDS", time.monotonic() - start)
"""


@pytest.fixture(scope="module")
def hub(stand_in):
    with LoopbackHub(TOKENS) as hub:
        add_base(hub, stand_in)
        add_base(hub, stand_in, MOVING_BASE)
        yield hub


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    modules = ["ner.inference.recognizer", "ner.training.faults", "ner.training.validation"]
    with HubClient(hub, tmp_path_factory.mktemp("home"), *modules) as client:
        yield client


def run_script(client, folder, script, *arguments):
    """Run a script as alice, successfully."""
    done = client.run("hf_alice", folder, script, *arguments)
    assert done.returncode == 0, done.stderr
    return done


def evaluate(client, tmp_path, adapter: str | Path, output_dir: str) -> dict:
    data = ["--dataset", SAMPLE, "--split", "train", "--num_samples", "24"]
    output = ["--output_dir", output_dir, "--min_confidence", "saved"]
    done = run_script(client, tmp_path, "evaluate_hub.py", "--adapter", adapter, *data, *output)
    assert f"threshold {THRESHOLD}, saved with the adapter" in done.stdout
    return json.loads((tmp_path / output_dir / "metrics.json").read_text())


def read_code(card: ModelCard) -> str:
    return card.content.split("```python\n")[1].split("```")[0]


def test_adapter_goes_to_the_hub_and_works_from_there(hub, client, tmp_path, adapter, chats_file):
    """Evaluate an adapter, publish it with its scores, delete it here, evaluate it from the hub.

    Then run the code on the card, and train the adapter further.
    """
    local = tmp_path / "EXAONE-adapter"
    shutil.copytree(adapter, local)
    change_json(local / "training.json", min_confidence=THRESHOLD)
    before = evaluate(client, tmp_path, local, "before")
    names = ["--adapter", local, "--base_model", "alice/EXAONE-base", "--tag", "v1"]
    metrics = ["--metrics", tmp_path / "before" / "metrics.json"]
    uploaded = run_script(client, tmp_path, "upload_hub.py", *names, *metrics)
    assert f"uploaded: {hub.url}/alice/EXAONE-adapter at " in uploaded.stdout
    assert "tag v1" in uploaded.stdout
    repo = hub.repos["alice/EXAONE-adapter"]
    assert repo["private"]
    assert repo["tags"] == {"v1": repo["branches"]["main"]}
    assert repo["files"].keys() - {".gitattributes"} == set(PUBLISHED_FILES)
    shutil.rmtree(local)

    after = evaluate(client, tmp_path, "EXAONE-adapter", "after")
    assert after["settings"]["adapter_sha256"] == before["settings"]["adapter_sha256"]
    assert {**after, "settings": None} == {**before, "settings": None}
    assert after["min_confidence"] == THRESHOLD
    assert after["scores"]["seqeval"]["f1"]["value"] == 1
    (tmp_path / "README.md").write_bytes(repo["files"]["README.md"])
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "alice/EXAONE-base"
    assert card.data.model_name == "EXAONE-adapter"
    precision = before["scores"]["seqeval"]["precision"]["value"]
    assert card.data.eval_results[0].metric_value == round(precision, 4)
    assert card.data.eval_results[0].metric_args["min_confidence"] == THRESHOLD

    code = read_code(card)
    assert code.count(SENTENCE) == 1
    assert len(code.splitlines()) == 4
    assert max(map(len, code.splitlines())) <= 100
    _, sentence, answer = json.loads(chats_file.read_text().splitlines()[0])["messages"]
    (tmp_path / "card.py").write_text(code.replace(SENTENCE, sentence["content"]))
    done = run_script(client, tmp_path, tmp_path / "card.py")
    [tagged] = ast.literal_eval(done.stdout.splitlines()[-1])
    assert tagged["text"] == sentence["content"]
    names: dict[str, list[str]] = {}
    for entity in tagged["entities"]:
        names.setdefault(entity["label"], []).append(entity["text"])
    assert names == json.loads(answer["content"])

    further = tmp_path / "EXAONE-further"
    training = ["--data", chats_file, "--max_steps", "1", "--learning_rate", "0"]
    output = ["--output_dir", further]
    run_script(client, tmp_path, "train.py", "--adapter", "EXAONE-adapter@v1", *training, *output)
    weights = (further / "adapter_model.safetensors").read_bytes()
    assert weights == (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads((further / "training.json").read_text())["base"] == {
        "name": "alice/EXAONE-base",
        "revision": hub.repos["alice/EXAONE-base"]["branches"]["main"],
    }

    paths = [path for folder in (tmp_path, client.home) for path in folder.rglob("*")]
    written = [path.read_bytes() for path in paths if path.is_file()]
    assert len(written) > 20
    assert not [
        content for content in [*written, *repo["files"].values()] if b"hf_alice" in content
    ]


def test_base_of_the_hub_serves_offline_afterwards_and_stays_at_its_commit(
    hub, client, tmp_path, chats_file
):
    """Train online, then add a commit to the branch.

    Resume and evaluate without a network, from the cache and the same commit.
    """
    commit = hub.repos[MOVING_BASE]["commits"][-1]["oid"]
    folder = tmp_path / "EXAONE-adapter"
    train = [
        *("--model", MOVING_BASE, "--data", chats_file, "--output_dir", "EXAONE-adapter"),
        *("--max_steps", "4", "--save_steps", "2"),
        *("--batch_size", "4", "--gradient_accumulation", "1"),
    ]
    run_script(client, tmp_path, "train.py", *train)
    # Checkpoints ask the hub for nothing. PEFT would ask for the branch's configuration.
    assert not [path for _, path, _ in hub.requests if f"{MOVING_BASE}/resolve/main/" in path]
    weights = (folder / "adapter_model.safetensors").read_bytes()
    assert json.loads((folder / "adapter_config.json").read_text())["revision"] == commit

    hub.commit(MOVING_BASE, {"config.json": b"{}"})
    run_script(client, tmp_path, "train.py", *train, "--resume")
    assert (folder / "adapter_model.safetensors").read_bytes() == weights
    before = len(hub.requests)
    evaluation = [
        *("--adapter", "EXAONE-adapter", "--dataset", SAMPLE),
        *("--num_samples", "4", "--max_new_tokens", "8"),
    ]
    command = [ROOT / "evaluate_hub.py", *evaluation]
    offline = {"HF_HOME": str(client.home), "HF_HUB_OFFLINE": "1"}
    done = run_python(hub, tmp_path, "hf_alice", *command, **offline)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "evaluation" / "predictions.jsonl").open() as predictions:
        assert json.loads(predictions.readline())["settings"]["revision"] == commit
    assert len(hub.requests) == before


def test_plans_do_not_retry_without_a_hub(hub, client, tmp_path, chats_file):
    """The plan of the real model needs none. Another model's configuration is there."""
    (tmp_path / "plans.py").write_text(PLANS)
    with hub.stopped():
        done = run_script(client, tmp_path, tmp_path / "plans.py", "--data", chats_file)
    own, seconds, other, more_seconds = re.split(r"^SECONDS (.*)\n", done.stdout, flags=re.M)[:4]
    assert "the longest assumed, because the tokenizer cannot be read)" in own
    assert "together" in own
    assert "error: alice/base: the hub cannot be reached" in other
    assert "Retry" not in done.stderr
    assert max(float(seconds), float(more_seconds)) < 60
