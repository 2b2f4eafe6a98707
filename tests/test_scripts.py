"""What every script has in common: help, unknown flags, exit codes."""
import importlib

import pytest

from data_processing import InputError, run_script

SCRIPTS = ["data_processing", "train", "upload_hub", "evaluate_hub", "report", "exaone"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_tells_what_is_read_and_written_and_the_command(name, capsys):
    script = importlib.import_module(name)
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and script.__doc__ in printed and f"python {name}.py" in printed


@pytest.mark.parametrize("name", SCRIPTS)
def test_unknown_flag_is_an_error(name, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(name).main(["--no_such_flag", "1"])
    assert stop.value.code == 2


def test_user_s_mistake_ends_with_its_message():
    def main():
        raise InputError("train.txt:3: expected something else")

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == "error: train.txt:3: expected something else"  # which exits with 1


def test_ctrl_c_ends_without_a_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 130 and "stopped" in capsys.readouterr().err


def test_other_errors_keep_their_traceback():
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        run_script(main)
