from types import SimpleNamespace

import pytest
import torch

import tag
import train
from ner.cli import InputError
from ner.model.gpu import check_card, check_driver, has_cuda
from ner.model.process import get_process
from tests.training.helpers import build_command


@pytest.fixture
def install_driver(monkeypatch, tmp_path):
    """A function that gives this machine two cards with a driver, and PyTorch a CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(driver: str, cuda: str | None = "13.0") -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\necho {driver}\necho {driver}\n")
        path.chmod(0o755)
        monkeypatch.setattr(torch.version, "cuda", cuda)

    return install


@pytest.mark.parametrize(
    ("driver", "cuda", "message"),
    [
        (
            "550.54.14",
            "13.0",
            r"CUDA 13\.0, which needs NVIDIA driver 580 or newer\. This machine has driver "
            r"550\.54\.14\..*torch==2\.13\.0\+cu126 --index-url https://.*/whl/cu126",
        ),
        ("515.43.04", "12.6", r"needs NVIDIA driver 525 .*has driver 515\.43\.04"),
        ("580.65.06", "13.0", r"finds no GPU, but nvidia-smi finds one.*torch\.cuda\.init"),
        ("580.65.06", "14.0", r"finds no GPU, but nvidia-smi finds one"),
    ],
    ids=["older than CUDA 13", "older than CUDA 12", "another reason", "a later CUDA"],
)
def test_card_that_pytorch_cannot_use(install_driver, driver, cuda, message):
    install_driver(driver, cuda)
    with pytest.raises(InputError, match=message):
        has_cuda()


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_cpu_may_be_chosen(install_driver, monkeypatch, hidden):
    install_driver("550.54.14", cuda=None)
    check_driver()
    install_driver("550.54.14")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    check_driver()


def test_machine_without_a_card(install_driver, monkeypatch, tmp_path):
    """No nvidia-smi, or one that finds no card."""
    install_driver("550.54.14")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho No devices were found\nexit 6\n")
    check_driver()
    monkeypatch.setenv("PATH", "")
    check_driver()


@pytest.fixture
def question(stand_in, monkeypatch) -> list[str]:
    """A command that asks a model. It fails the test if the model's configuration is read."""
    monkeypatch.setattr(
        "ner.inference.recognizer.load_config", lambda *_: pytest.fail("a model was read")
    )
    return ["--adapter", "none", "--model", str(stand_in), "--text", "손흥민"]


def test_old_driver_is_reported_before_a_model_is_read(
    install_driver, chats_file, tmp_path, question
):
    install_driver("550.54.14")
    with pytest.raises(InputError, match="driver 580 or newer"):
        train.main(build_command("nobody/nothing", chats_file, tmp_path))
    with pytest.raises(InputError, match="driver 580 or newer"):
        tag.main(question)


@pytest.fixture
def install_card(monkeypatch):
    """A function that gives this machine a card."""
    get_process()  # on the CPU

    def install(name: str, *capability: int) -> None:
        card = SimpleNamespace(major=capability[0], minor=capability[1])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)

    return install


def test_card_without_native_bfloat16(install_card, capsys):
    """Training refuses it, evaluation may be slow. In float32 both may use it."""
    message = r"Tesla T4 has no native bfloat16.*no float16 path.*Ampere or newer.*RTX 3090"
    install_card("Tesla T4", 7, 5)
    for precision in ("nf4", "merged", "bfloat16"):
        with pytest.raises(InputError, match=message):
            check_card(precision, emulate=False)
    check_card("float32", emulate=False)
    check_card("float32", emulate=True)
    assert capsys.readouterr().out == ""
    check_card("nf4", emulate=True)
    assert capsys.readouterr().out.startswith("note: Tesla T4 has no native bfloat16")


def test_card_with_native_bfloat16(install_card, capsys):
    for name, *capability in (("RTX 3090", 8, 6), ("RTX 4090", 8, 9), ("H100", 9, 0)):
        install_card(name, *capability)
        check_card("nf4", emulate=False)
        check_card("nf4", emulate=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("precision", ["nf4", "float32"])
@pytest.mark.parametrize("emulate", [True, False])
def test_card_without_kernels(install_card, precision, emulate):
    install_card("Tesla V100", 7, 0)
    with pytest.raises(InputError, match=r"Tesla V100 has compute capability 7\.0.*7\.5.*Ampere"):
        check_card(precision, emulate)


def test_card_is_checked_before_a_model_is_read(install_card, question):
    install_card("Tesla V100", 7, 0)
    with pytest.raises(InputError, match="Tesla V100"):
        tag.main(question)
