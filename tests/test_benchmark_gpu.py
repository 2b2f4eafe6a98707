"""The proof on a GPU, run without one: a tiny model goes through the same steps."""

import json

import pytest
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import load_file

from benchmarks import gpu, gpu_run, random_exaone
from ner.cli import InputError
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base
from ner.model.loading import build_empty, load_model
from ner.model.names import to_exaone

TINY = ExaoneConfig(
    vocab_size=2048,
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
)
STEPS = [step for steps in gpu.PARTS.values() for step in steps]


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """Flags for few and short steps."""
    return [
        *("--output", str(tmp_path / "gpu.json"), "--work_dir", str(tmp_path / "work")),
        *("--steps", "2", "--num_samples", "3", "--single", "2"),
    ]


def run_here(step: str, argv: list[str]) -> dict:
    """Run a step in this process, except the rehearsal."""
    if step == "rehearsal":
        return {"seconds": 1.0, "f1": [1.0, 1.0]}
    return gpu_run.run_step(step, gpu.parse_args(argv))


def test_all_parts(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_run, "SMALL", TINY)
    monkeypatch.setattr(gpu_run, "TEXTS", 48)
    monkeypatch.setattr(gpu, "run_apart", run_here)
    gpu.main(flags)
    record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert list(record["steps"]) == STEPS
    assert record["machine"]["torch"] == torch.__version__
    assert {"cpu", "threads", "commit", "trl"} <= set(record["machine"])
    for step in gpu.TRAINING:
        figures = record["steps"][step]
        assert len(figures["losses"]) == 2
        assert min(figures["sentences_per_second"], figures["plan_bytes"]) > 0
    # Packing leaves out what all chats share, so fewer tokens are computed.
    packed, padded = (
        record["steps"][f"training, {name}"]["computed_per_token"]
        for name in ("ours", "ours, padded")
    )
    assert packed < padded
    for step in gpu.PARTS["answering"]:
        assert record["steps"][step]["sentences_per_second"] > 0
    assert not (tmp_path / "work").exists()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert [row[0].removeprefix("| ") for row in rows] == ["step", *STEPS]
    assert {len(row) for row in rows} == {8}


def test_row():
    figures = {
        "sentences_per_second": 2.0,
        "tokens_per_second": 298.4,
        "losses": [3.0, 2.5, 2.0],
        "peak_bytes": 11e9,
        "plan_bytes": 10e9,
    }
    row = "| training, ours |  | 2.00 | 175 for 21,008 | 298 | 11.00 | 10.00 | loss 3.00 to 2.00 |"
    assert gpu.format_row("training, ours", figures) == row
    row = "| rehearsal | 61.2 |  |  |  |  |  | F1 1.0000 and 0.9950 |"
    assert gpu.format_row("rehearsal", {"seconds": 61.24, "f1": [1.0, 0.995]}) == row


def test_cut_run_goes_on(flags, tmp_path, monkeypatch):
    done = []

    def run(step, argv):
        if step == "training, ours" and done.count(step) == 0:
            done.append(step)
            raise InputError("training, ours failed (above). What was done before is kept")
        done.append(step)
        return {"seconds": 1.0}

    monkeypatch.setattr(gpu, "run_apart", run)
    with pytest.raises(InputError):
        gpu.main(flags)
    gpu.main(flags)
    assert done == [*STEPS[:4], STEPS[4], *STEPS[4:]]
    gpu.main([*flags, "--parts", "training"])
    assert len(done) == len(STEPS) + 1
    # Figures of another machine, or with other settings, do not mix with these.
    gpu.main([*flags, "--num_samples", "4"])
    assert len(done) == 2 * len(STEPS) + 1


def test_step_that_fails_keeps_the_rest(flags, monkeypatch):
    """In a process of its own, whose error has been printed."""
    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(InputError, match=r"loading failed \(above\)"):
        gpu.run_apart("loading", flags)


def test_full_disk_is_told_first(flags, monkeypatch):
    monkeypatch.setattr(gpu_run, "describe_machine", lambda: {"gpu": "RTX 4090"})
    monkeypatch.setattr(gpu, "free_bytes", lambda folder: 20e9)
    with pytest.raises(InputError, match=r"takes 33 GB, and its disk has 20 GB free"):
        gpu.main(flags)


def test_figures_that_are_off():
    steps = {
        "training, ours": {"losses": [3.0, 2.0], "peak_bytes": 11e9, "plan_bytes": 10e9},
        "training, ours, padded": {"losses": [3.0, 3.0], "peak_bytes": 12e9, "plan_bytes": 10e9},
        "loading": {"seconds": 3.0, "peak_bytes": 9e9},
    }
    falls = "training, ours, padded: the loss does not fall"
    peak = "training, ours, padded: the peak is +20% off the plan, which allows 15%"
    assert gpu.list_warnings({"machine": {"gpu": "RTX 4090"}, "steps": steps}) == [falls, peak]
    assert gpu.list_warnings({"machine": {"cpu": "x86_64"}, "steps": steps}) == [falls]


def test_random_model_in_the_hubs_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(random_exaone, "SHARD", "500KB")
    random_exaone.write_random_exaone(tmp_path / "model", TINY)
    shards = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 1
    saved = {name: value for shard in shards for name, value in load_file(shard).items()}
    assert {value.dtype for value in saved.values()} == {torch.float32}
    model = load_model(Base(str(tmp_path / "model")), "float32")
    loaded = {to_exaone(name): value for name, value in model.state_dict().items()}
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())
    assert saved["transformer.h.1.attn.attention.q_proj.weight"].std() == pytest.approx(0.02, 0.1)
    assert torch.all(saved["transformer.ln_f.weight"] == 1)


def test_real_size():
    """Seven shards of 31,273,795,584 bytes, as on the hub."""
    weights = build_empty(ExaoneConfig()).state_dict()
    shards = split_torch_state_dict_into_shards(weights, max_shard_size=random_exaone.SHARD)
    assert len(shards.filename_to_tensors) == 7
    assert shards.metadata["total_size"] == 31_273_795_584


def test_texts_are_the_same_every_time(tmp_path):
    for name in ("one", "other"):
        random_exaone.write_texts(tmp_path / name, 50)
    one, other = ((tmp_path / name / "train.txt").read_text() for name in ("one", "other"))
    assert one == other
    assert len(set(one.splitlines())) > 30
    assert (tmp_path / "one" / "validation.txt").read_text() != one
