"""Arms the guard as an agent does, and then waits to be killed: ARMS (JSON) STATE_DIR URI GRACE SILENCE."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stillframe.agent.guardlink import GuardLink
from stillframe.agent.guardwire import arm_from_json

link = GuardLink(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5]))
link.start()
for arm in json.loads(sys.argv[1]):
    link.arm(arm_from_json(arm))
print(link.pid, flush=True)
sys.stdin.read()
