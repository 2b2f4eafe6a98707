import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

import train
from ner.model.adapter import read_min_confidence
from ner.model.hub import Base
from ner.model.lora import load_recognizer
from ner.model.tokenizer import load_tokenizer
from ner.text.answers import Answer, Piece
from ner.text.chats import load_chats, write_chats
from ner.text.prompts import SYSTEM_PROMPTS, build_prompt
from ner.text.task import KLUE_TASK, build_task
from ner.training.checkpoints import is_complete
from ner.training.encoding import hold_out
from ner.training.validation import ScoreValidation, average_loss
from ner.training.validation_scores import read_scores
from tests.training.helpers import SMALL_STEPS, WEIGHTS, build_command

STEPS = [*SMALL_STEPS, "--max_steps", "6", "--save_steps", "2", "--activation_checkpointing"]
VALIDATION = [*STEPS, "--validation", "6"]


def test_answers_are_scored(adapter, stand_in, chats_file, tmp_path):
    """The adapter has memorized these chats and scores 1. Without it the model scores 0."""
    base = Base(str(stand_in))
    tokenizer = load_tokenizer(base)
    end_tokens = [tokenizer.eos_token_id]
    validation = ScoreValidation(load_chats(chats_file), KLUE_TASK, tokenizer, end_tokens, tmp_path)
    model = load_recognizer(base, "nf4", adapter)
    # Use the base's precision, as autocast did in training.
    tensors = [tensor for name, tensor in model.named_parameters() if "lora_" in name]
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    assert validation.score(model)[0] > 0.99
    assert model.training
    with model.disable_adapter():
        assert validation.score(model)[0] < 0.1


def test_gold_tags_of_marked_chats(stand_in, tmp_path):
    tokenizer = load_tokenizer(Base(str(stand_in)))
    prompt = build_prompt("이 사람, 이 대표", SYSTEM_PROMPTS["marked"])
    chat = [*prompt, {"role": "assistant", "content": "이 사람, <이:PS> 대표"}]
    validation = ScoreValidation(
        [chat], build_task("marked"), tokenizer, [tokenizer.eos_token_id], tmp_path
    )
    assert validation.gold == [["O"] * 6 + ["B-PS"] + ["O"] * 3]


def test_threshold_is_chosen_by_the_confidence_of_the_answers(stand_in, tmp_path, monkeypatch):
    """One right entity at 0.9, two wrong ones at 0.2 and 0.1, one missing: F1 is best above 0.2."""
    tokenizer = load_tokenizer(Base(str(stand_in)))
    chats = [
        [
            *build_prompt(sentence, SYSTEM_PROMPTS["marked"]),
            {"role": "assistant", "content": answer},
        ]
        for sentence, answer in [("가나", "<가:PS>나"), ("다라", "다<라:LC>")]
    ]
    validation = ScoreValidation(
        chats, build_task("marked"), tokenizer, [tokenizer.eos_token_id], tmp_path
    )
    logs = [math.log(0.9), math.log(0.2), math.log(0.1)]
    answers = [
        Answer(0, "<가:PS><나:PS>", True, [Piece(6, logs[0]), Piece(12, logs[1])]),
        Answer(1, "<다:PS>라", True, [Piece(6, logs[2]), Piece(7, 0.0)]),
    ]
    monkeypatch.setattr(validation, "answer", lambda model: answers)
    f1, threshold, counts = validation.score(None)
    assert f1 == pytest.approx(2 * 1 / (3 + 2))
    assert threshold == pytest.approx(0.55)
    assert counts == [[1, 2, 1], [0, 1, 1]]


@pytest.fixture
def scored_run(stand_in, chats_file, tmp_path, monkeypatch) -> list[str]:
    """The arguments of a run whose checkpoints 2, 4 and 6 score 0.2, 0.9 and 0.5."""
    scores = iter([(0.2, 0.0, [[1, 9, 0]]), (0.9, 0.25, [[9, 10, 10]]), (0.5, 0.75, [[1, 2, 2]])])
    monkeypatch.setattr(ScoreValidation, "score", lambda self, model: next(scores))
    return [*build_command(stand_in, chats_file, tmp_path), *VALIDATION]


def test_best_adapter_is_kept(scored_run, tmp_path, capsys):
    """A run that is resumed after its end also keeps the best adapter."""
    train.main(scored_run)
    printed = capsys.readouterr().out
    assert "F1 0.9000 after step 4, best threshold 0.2500" in printed
    assert "step 4, F1 0.9000" in printed
    assert read_min_confidence(tmp_path / "adapter") == 0.25
    results = tmp_path / "results"
    saved, best, last = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (tmp_path / "adapter", results / "checkpoint-4", results / "checkpoint-6")
    )
    assert all(torch.equal(saved[name], best[name]) for name in best)
    assert any(not torch.equal(last[name], best[name]) for name in best)

    # As an earlier version wrote it.
    (results / "best" / "best.json").write_text('{"step": 4, "f1": 0.9}')
    shutil.rmtree(tmp_path / "adapter")
    train.main([*scored_run, "--resume"])
    assert read_min_confidence(tmp_path / "adapter") is None
    best_weights = results / "best" / "adapter_model.safetensors"
    assert (tmp_path / WEIGHTS).read_bytes() == best_weights.read_bytes()


def test_scores_of_all_checkpoints_are_kept(scored_run, tmp_path):
    """Only the last two checkpoints are kept. The scores are also in the log."""
    train.main([*scored_run, "--logging_steps", "1"])
    log = json.loads((tmp_path / "adapter" / "training.json").read_text())["log"]
    scores = [(line["step"], line["validation_f1"]) for line in log if "validation_f1" in line]
    assert scores == [(2, 0.2), (4, 0.9), (6, 0.5)]
    checkpoint = tmp_path / "results" / "checkpoint-6"
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    assert history == log[: len(history)]
    assert history[-1]["validation_f1"] == 0.5
    assert is_complete(checkpoint)

    scores = read_scores(tmp_path / "results")
    assert [(line["step"], line["f1"]) for line in scores] == [(2, 0.2), (4, 0.9), (6, 0.5)]
    assert [line["counts"] for line in scores] == [[[1, 9, 0]], [[9, 10, 10]], [[1, 2, 2]]]
    losses = [line["loss"] for line in log if "loss" in line]
    assert [line["loss"] for line in scores] == [
        pytest.approx(sum(pair) / 2) for pair in zip(losses[::2], losses[1::2], strict=True)
    ]
    assert scores[0]["epoch"] == pytest.approx(2 / 5)  # 18 chats, four a step

    # A new run in the same folder begins with none.
    for folder in (tmp_path / "results").glob("checkpoint-*"):
        shutil.rmtree(folder)
    with pytest.raises(StopIteration):  # there are no more made-up scores
        train.main(scored_run)
    assert read_scores(tmp_path / "results") == []


def test_loss_since_the_last_validation():
    log = [{"loss": 9.0}, {"validation_f1": 0.1}, {"loss": 2.0}, {"grad": 1.0}, {"loss": 4.0}]
    assert average_loss(log) == 3.0
    assert average_loss(log[:2]) is None


def test_validation_does_not_change_the_training(stand_in, chats_file, tmp_path):
    """With dropout. The second run trains on the same chats without validation."""
    train.main([*build_command(stand_in, chats_file, tmp_path / "scored"), *VALIDATION])
    rest, _ = hold_out(load_chats(chats_file), 6, 42)
    write_chats(tmp_path / "rest.jsonl", [{"messages": chat} for chat in rest], {})
    train.main([*build_command(stand_in, tmp_path / "rest.jsonl", tmp_path / "plain"), *STEPS])
    scored, plain = (
        tmp_path / name / "results" / "checkpoint-6" / "adapter_model.safetensors"
        for name in ("scored", "plain")
    )
    assert scored.read_bytes() == plain.read_bytes()
