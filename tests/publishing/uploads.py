"""Runs upload_hub.py for each list of a token and arguments, one after the other.

Prints the exit code of each run and the seconds that it waited between tries. It does not wait.
"""

import json
import os
import sys
import time

import upload_hub


def run_upload(token: str, *arguments: str) -> int | str:
    """Returns the exit code, or the message that the script ends with."""
    os.environ["HF_TOKEN"] = token
    try:
        upload_hub.run_script(lambda: upload_hub.main(list(arguments)))
    except SystemExit as stop:
        return stop.code
    return 0


if __name__ == "__main__":
    for command in json.loads(sys.argv[1]):
        waits: list[float] = []
        time.sleep = waits.append
        print("ENDED", json.dumps([run_upload(*command), waits]), flush=True)
