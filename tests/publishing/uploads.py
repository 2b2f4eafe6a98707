"""Runs upload_hub.py for each list of a token and arguments, one after the other.

Prints the exit code of each run and the seconds that it waited between tries. It does not wait.
"""

import json
import os
import sys
import time

import upload_hub

waits = []
time.sleep = waits.append
for token, *arguments in json.loads(sys.argv[1]):
    waits.clear()
    os.environ["HF_TOKEN"], code = token, 0
    try:
        upload_hub.run_script(lambda: upload_hub.main(arguments))  # noqa: B023 -- runs at once
    except SystemExit as stop:
        code = stop.code
    print("ENDED", json.dumps([code, waits]), flush=True)
