"""The package behind the scripts. Nothing here imports a script.

Layers from the bottom: `cli` and `files`, then `text`, `model`, `training` and `evaluation`, and
`publishing`.
"""

import logging
import warnings

# Every module of this package runs these lines first, so the order of imports does not matter.
# On some CPUs bitsandbytes suggests a package that would fetch native code from the hub.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
# PEFT and TRL still use the old name.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
