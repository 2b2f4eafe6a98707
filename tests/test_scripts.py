import importlib
import subprocess
import sys

import pytest

from tests.helpers import ROOT, SAMPLE

SCRIPTS = ["data_processing", "train", "upload_hub", "evaluate_hub", "report", "export", "tag"]
COMMANDS = {
    **{name: f"python {name}.py" for name in SCRIPTS},
    "tests.stand_in": "python -m tests.stand_in",
    "benchmarks.answers": "python -m benchmarks.answers",
    "benchmarks.confidence": "python -m benchmarks.confidence",
    "benchmarks.conversion": "python -m benchmarks.conversion",
    "benchmarks.export": "python -m benchmarks.export",
    "benchmarks.generation": "python -m benchmarks.generation",
    "benchmarks.recipe": "python -m benchmarks.recipe",
    "benchmarks.training": "python -m benchmarks.training",
}

RUN_FLAGS = ["--model", "m", "--dataset", "d", "--work_dir", "w"]
REQUIRED = {
    "benchmarks.answers": RUN_FLAGS,
    "benchmarks.confidence": ["predictions.jsonl"],
    "benchmarks.export": ["--work_dir", "w"],
    "benchmarks.recipe": RUN_FLAGS,
}
# Runs a script as Python does, then prints the modules that it imported.
RUN_AND_LIST_IMPORTS = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", *sys.modules)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_docstring_and_the_command(name, capsys):
    script = importlib.import_module(name)
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0
    assert script.__doc__ in printed
    assert COMMANDS[name] in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_flag_is_an_error(name, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(name).main([*REQUIRED.get(name, []), "--no_such_flag", "1"])
    assert stop.value.code == 2
    assert "--no_such_flag" in capsys.readouterr().err


def run_script(name: str, *arguments: str) -> tuple[int, str, set[str]]:
    """Run a script. Returns its exit code, its errors and the modules it imported."""
    command = [sys.executable, "-c", RUN_AND_LIST_IMPORTS, f"{name}.py", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    _, _, imported = run.stdout.rpartition("imported: ")
    assert "runpy" in imported.split()
    return run.returncode, run.stderr, set(imported.split())


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_imports_nothing_slow(name):
    code, _, imported = run_script(name, "--help")
    assert code == 0
    assert imported.isdisjoint({"torch", "transformers", "peft", "trl", "datasets"})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("data_processing", ["--dataset", str(SAMPLE), "--output", "tests"], "is a folder"),
        ("train", ["--data", "nothing.jsonl"], "nothing.jsonl: not found"),
        (
            "upload_hub",
            ["--adapter", "nothing", "--dry_run"],
            "nothing: has no adapter_config.json",
        ),
        (
            "evaluate_hub",
            ["--adapter", "nothing", "--dataset", str(SAMPLE)],
            "nothing: no such folder",
        ),
        ("report", ["nothing.jsonl"], "nothing.jsonl: cannot be read"),
        ("export", ["--adapter", "nothing"], "nothing: no such folder"),
        ("tag", ["nothing.txt"], "nothing.txt: not found"),
    ],
    ids=SCRIPTS,
)
def test_wrong_path_is_reported_before_anything_slow_is_imported(name, arguments, message):
    code, errors, imported = run_script(name, *arguments)
    assert code == 1
    assert errors.startswith("error: ")
    assert message in errors
    assert imported.isdisjoint({"torch", "peft", "trl"})
