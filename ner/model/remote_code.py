"""No repository's code is ever run: importing this module ends Transformers' question about it.

On a terminal, Transformers asks whether to run the code that a model needs, and waits 15 seconds
for the answer. Without a time to wait, it raises ValueError.
"""

from transformers import dynamic_module_utils

dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def describe(error: Exception) -> str:
    """The first sentence of an error. The others may advise to run the code."""
    return str(error).splitlines()[0].partition(". ")[0]
