"""EXAONE's successors go through all four scripts, at a tiny size."""

import json
from pathlib import Path

import pytest
from transformers import Exaone4Config

import evaluate_hub
import train
import upload_hub
from ner.model.exaone import ExaoneConfig
from tests.helpers import SAMPLE
from tests.stand_in import write_stand_in

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
# Their configurations' classes, and what differs from EXAONE 3.0.
SUCCESSORS = {
    "3.5-2.4B": (ExaoneConfig, {"rope_scaling": LLAMA3, "tie_word_embeddings": True}),
    "4.0-1.2B": (
        Exaone4Config,
        {
            "rope_scaling": LLAMA3,
            "tie_word_embeddings": True,
            "sliding_window": None,
            "layer_types": ["full_attention"] * 2,
        },
    ),
}


@pytest.fixture(params=SUCCESSORS)
def successor(request, tmp_path) -> Path:
    config_class, fields = SUCCESSORS[request.param]
    write_stand_in(tmp_path / "EXAONE-next", config_class, **fields)
    config = json.loads((tmp_path / "EXAONE-next" / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"]
    rope = config.get("rope_scaling") or config["rope_parameters"]
    assert rope["rope_type"] == "llama3"
    return tmp_path / "EXAONE-next"


def test_all_four_scripts(successor, chats_file, tmp_path, capsys):
    adapter = tmp_path / "EXAONE-next-LoRA"
    train.main(
        [
            *("--model", str(successor), "--data", str(chats_file), "--output_dir", str(adapter)),
            *("--checkpoint_dir", str(tmp_path / "results"), "--max_steps", "20"),
            *("--learning_rate", "5e-3", "--logging_steps", "5", "--batch_size", "8"),
        ]
    )
    state = json.loads((tmp_path / "results/checkpoint-20/trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    capsys.readouterr()

    upload_hub.main(["--adapter", str(adapter), "--base_model", "alice/EXAONE-next", "--dry_run"])
    card = capsys.readouterr().out
    model_type = json.loads((successor / "config.json").read_text())["model_type"]
    assert ("EXAONE's own names" in card) == (model_type == "exaone")

    evaluate_hub.main(
        [
            *("--adapter", str(adapter), "--dataset", str(SAMPLE), "--split", "train"),
            *("--num_samples", "4", "--output_dir", str(tmp_path / "evaluation")),
            *("--max_new_tokens", "16"),
        ]
    )
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["sentences"] == 4
