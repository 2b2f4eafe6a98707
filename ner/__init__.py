"""The package behind the scripts. Nothing here imports a script.

    from ner import Recognizer

    Recognizer.load("EXAONE-3.0-7.8B-KLUE-NER-LoRA").tag(["손흥민은 춘천에서 태어났다."])

Layers from the bottom: `cli`, `files`, `text`, `model`, `inference`, then `training` and
`evaluation`, then `publishing` and `tagging`.
"""

import logging
import warnings

# Every module of this package runs these lines first, so the order of imports does not matter.
# On some CPUs bitsandbytes suggests a package that would fetch native code from the hub.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
# PEFT and TRL still use the old name.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")


def __getattr__(name: str) -> object:
    # Imported when it is needed: PyTorch takes seconds, and `--help` should not wait for it.
    if name == "Recognizer":
        from ner.tagging.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
