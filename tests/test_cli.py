import argparse
import shlex
import subprocess
import sys

import pytest

from ner.cli import (
    InputError,
    build_parser,
    describe_changes,
    fraction,
    non_negative_float,
    non_negative_int,
    positive_int,
    probability,
    run_script,
)
from tests.helpers import ROOT


def test_input_error_ends_with_its_message():
    def main():
        raise InputError("train.txt:3: expected something else")

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    # With a text as its code, Python prints the text and exits with 1.
    assert stop.value.code == "error: train.txt:3: expected something else"


def test_ctrl_c_ends_without_a_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 130
    assert "stopped" in capsys.readouterr().err


def test_output_that_nobody_reads_ends_without_a_traceback():
    program = "from ner.cli import run_script; run_script(lambda: [print(1) for _ in range(99999)])"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_ctrl_c_ends_with_the_message_it_carries(capsys):
    def main():
        raise KeyboardInterrupt("continue with --resume")

    with pytest.raises(SystemExit):
        run_script(main)
    assert capsys.readouterr().err == "\nstopped: continue with --resume\n"


def test_other_errors_keep_their_traceback():
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        run_script(main)


def test_help_shows_the_docstring_as_written():
    docstring = "Step 0: rest.\n\nReads nothing.\n\n    python rest.py\n"
    assert docstring in build_parser(docstring).format_help()


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (positive_int, "1", 1),
        (non_negative_int, "0", 0),
        (non_negative_float, "0", 0.0),
        (non_negative_float, "2e-4", 0.0002),
        (fraction, "0", 0.0),
        (fraction, "0.99", 0.99),
        (probability, "0", 0.0),
        (probability, "1", 1.0),
    ],
)
def test_numbers_within_their_range(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (positive_int, "0"),
        (positive_int, "-3"),
        (positive_int, "1.5"),
        (non_negative_int, "-1"),
        (non_negative_int, "0.5"),
        (non_negative_float, "-0.1"),
        (non_negative_float, "nan"),
        (fraction, "1"),
        (fraction, "-0.1"),
        (fraction, "nan"),
        (probability, "1.01"),
        (probability, "-0.1"),
        (probability, "nan"),
    ],
)
def test_numbers_outside_their_range(parse, text):
    with pytest.raises((argparse.ArgumentTypeError, ValueError)):
        parse(text)


def test_changed_settings_are_listed():
    before = {"seed": 42, "lora_r": 32, "loss": "answer"}
    now = {"seed": 42, "lora_r": 8, "prompt": "basic"}
    assert describe_changes(before, now) == [
        "lora_r: was 32, now 8",
        "loss: was answer, now None",
        "prompt: was None, now basic",
    ]
    labels = {"PS": "사람", "LC": "장소"}
    assert describe_changes({"labels": labels}, {"labels": dict(sorted(labels.items()))})
    assert describe_changes(before, dict(sorted(before.items()))) == []
