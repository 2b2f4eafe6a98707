import json

import pytest

from ner.cli import InputError
from ner.model.adapter import read_min_confidence, rename_modules
from ner.model.names import to_exaone


def test_pattern_fields_are_renamed():
    config = {
        "target_modules": {"o_proj"},
        "rank_pattern": {"gate_proj": 8},
        "alpha_pattern": None,
    }
    assert rename_modules(config, to_exaone) == {
        "target_modules": {"out_proj"},
        "rank_pattern": {"c_fc_0": 8},
        "alpha_pattern": {},
    }


def test_pattern_of_modules_is_refused():
    with pytest.raises(InputError, match=r"are a pattern.*List the modules' names"):
        rename_modules({"target_modules": r".*\.o_proj"}, to_exaone)


@pytest.mark.parametrize("threshold", [0.42, 1e-05, 0.0, 1.0])
def test_threshold_in_the_record(tmp_path, threshold):
    (tmp_path / "training.json").write_text(json.dumps({"min_confidence": threshold}))
    assert read_min_confidence(tmp_path) == threshold


@pytest.mark.parametrize(
    ("number", "threshold"),
    [("0.42", 0.42), ("1.0e-05", 1e-05), ("1e-05", 1e-05), ("0.0", 0.0), ("1", 1.0)],
)
def test_threshold_on_the_card(tmp_path, number, threshold):
    text = f"---\nlanguage: ko\nmin_confidence: {number}\nsystem_prompt: marked\n---\n\n# Card\n"
    (tmp_path / "README.md").write_text(text)
    assert read_min_confidence(tmp_path) == threshold


# Of an evaluation, in the card's list of results.
OTHER_THRESHOLD = "---\nmodel-index:\n- results:\n  - args:\n      min_confidence: 0.5\n---\n"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"README.md": "---\nlanguage: ko\n---\n"},
        {"README.md": OTHER_THRESHOLD},
        {"training.json": '{"steps": 120}'},
        {"training.json": '{"steps": 120}', "README.md": "---\nmin_confidence: 0.5\n---\n"},
    ],
)
def test_adapter_without_a_threshold(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert read_min_confidence(tmp_path) is None
