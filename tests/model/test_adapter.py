import pytest

from ner.cli import InputError
from ner.model.adapter import rename_modules
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
