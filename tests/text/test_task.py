"""Tasks: labels of one's own, their system prompts and their records."""

import pytest

from ner.cli import InputError
from ner.text.klue import LABELS
from ner.text.prompts import SYSTEM_PROMPTS
from ner.text.task import (
    KLUE_TASK,
    Task,
    build_own_task,
    build_task,
    check_data_labels,
    choose_task,
    read_task,
)

SHOP = {"상품": "제품 이름", "brand-2": "", "색_상": "색"}


@pytest.mark.parametrize("prompt", SYSTEM_PROMPTS)
def test_tasks_of_klue_have_the_known_prompts_and_short_records(prompt):
    task = build_task(prompt)
    assert task.system_prompt == SYSTEM_PROMPTS[prompt]
    assert task.record == {"prompt": prompt}
    assert read_task({"prompt": prompt, "seed": 42}) == task


def test_prompt_lists_the_labels_in_their_order():
    listed = "개체명 태그는 다음과 같습니다: 상품(제품 이름), brand-2, 색_상(색)."
    assert (
        f"{listed} 해당하는 개체명이 없으면 빈 JSON '{{}}'을"
        in build_task("basic", SHOP).system_prompt
    )
    assert build_task("marked", SHOP).system_prompt.endswith(listed)


@pytest.mark.parametrize(
    "task",
    [
        build_task("basic", SHOP),
        build_task("marked", SHOP),
        build_task("marked", dict(reversed(LABELS.items()))),
        build_own_task("찾으세요.", "marked", SHOP),
        build_own_task("찾으세요.", "json"),
    ],
)
def test_record_restores_the_task(task):
    restored = read_task(task.record)
    assert restored == task
    assert list(restored.labels) == list(task.labels)


def test_unknown_prompt_is_no_task():
    assert read_task({}) is read_task({"prompt": None}) is read_task({"prompt": "later"}) is None
    assert read_task({"prompt": ["basic"]}) is read_task({"prompt": "file"}) is None


def test_strict_is_about_klue_alone():
    with pytest.raises(InputError, match=r"--prompt strict .*상품, brand-2, 색_상.*--prompt_file"):
        build_task("strict", SHOP)


@pytest.mark.parametrize("labels", [["PS"], {"PS": None}, {1: "하나"}, {True: "on"}, "PS"])
def test_damaged_labels_are_refused(labels):
    with pytest.raises(InputError, match="expected descriptions by name"):
        read_task({"prompt": "basic", "labels": labels})


def test_choice_of_a_task(tmp_path):
    recorded = build_task("basic", SHOP)
    assert choose_task(None, LABELS, None) == KLUE_TASK
    assert choose_task(None, SHOP, None) == choose_task(recorded, LABELS, None) == recorded
    assert choose_task(recorded, LABELS, "marked") == build_task("marked", SHOP)
    path = tmp_path / "prompt.txt"
    path.write_text("\n이름을 찾으세요.\n", encoding="utf-8")
    assert choose_task(recorded, LABELS, None, path).kind == "json"
    assert choose_task(build_task("marked", SHOP), LABELS, None, path).kind == "marked"
    own = choose_task(recorded, LABELS, None, path, "marked")
    assert own == Task(SHOP, "file", "이름을 찾으세요.", "marked")
    assert choose_task(own, LABELS, None) == own
    path.write_text(" \n")
    with pytest.raises(InputError, match=r"prompt\.txt: is empty"):
        choose_task(None, SHOP, None, path)
    with pytest.raises(InputError, match="cannot be read"):
        choose_task(None, SHOP, None, tmp_path)


def test_data_set_with_other_labels():
    check_data_labels(KLUE_TASK, ["PS", "TI"], "data")
    message = (
        r"data has labels that the model was not trained for: 상품, 색_상\. It was trained for PS"
    )
    with pytest.raises(InputError, match=message):
        check_data_labels(KLUE_TASK, ["PS", "상품", "색_상"], "data")
