"""stillframe.wsgi.api:application, for any WSGI server: one process with threads, or many.

Configured by the files that STILLFRAME_CONFIG names, with colons between; without it, as `stillframe-api` is.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

from stillframe import config
from stillframe.services import api, process

_named = os.environ.get("STILLFRAME_CONFIG")
_files = [Path(name) for name in _named.split(":")] if _named else config.files_of("stillframe-api")
_stack = ExitStack()
atexit.register(_stack.close)

_settings = config.load(files=_files)
process.log_to_stderr(_settings.service.log_level)
application = api.compose(_settings, _stack)
