"""A corpus with labels of its own goes through all four scripts."""

import json

import data_processing
import evaluate_hub
import train
import upload_hub
from ner.model.adapter import read_adapter_task
from tests.helpers import SAMPLE

SHOP = SAMPLE.with_name("shop")
LABELS = ["상품", "브랜드", "색상", "가격"]


def test_all_four_scripts(stand_in, tmp_path, capsys):
    chats, adapter, output = tmp_path / "train.jsonl", tmp_path / "EXAONE-shop", tmp_path / "out"
    data_processing.main(
        ["--dataset", str(SHOP), "--output", str(chats), "--answer", "marked", "--num_samples", "8"]
    )
    train.main(
        [
            *("--model", str(stand_in), "--data", str(chats), "--output_dir", str(adapter)),
            *("--checkpoint_dir", str(tmp_path / "results"), "--max_steps", "40"),
            *("--batch_size", "8", "--gradient_accumulation", "2", "--logging_steps", "20"),
            *("--learning_rate", "5e-3", "--lr_scheduler", "constant"),
        ]
    )
    task = read_adapter_task(adapter)
    assert (list(task.labels), task.kind) == (LABELS, "marked")
    assert "상품(사고파는 물건의 종류나 이름), 브랜드(" in task.system_prompt

    flags = ["--adapter", str(adapter), "--split", "train", "--num_samples", "8"]
    evaluate = [*flags, "--dataset", str(SHOP), "--output_dir", str(output)]
    evaluate_hub.main([*evaluate, "--min_f1", "0.99"])
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["per_label"]) == list(metrics["settings"]["labels"]) == LABELS
    assert "klue_entity" not in metrics["scores"]
    page = (output / "report.html").read_text(encoding="utf-8")
    assert all(f'[data-label="{label}"] {{ --hue:' in page for label in LABELS)
    assert "KLUE-RoBERTa" not in page

    capsys.readouterr()
    scores = ["--metrics", str(output / "metrics.json")]
    upload_hub.main(
        ["--adapter", str(adapter), "--base_model", "alice/EXAONE-base", "--dry_run", *scores]
    )
    card = capsys.readouterr().out
    assert "상품 (사고파는 물건의 종류나 이름), 브랜드 (" in card
    assert "PS (person)" not in card
