"""Serves a WSGI module on loopback, in one process with threads. Run by the Python of the service's environment:

python -P serve.py MODULE PORT
"""

import importlib
import sys

from cheroot import wsgi

THREADS = 24
IDLE = 300  # seconds: an upload may stand still while its sender waits for leave to end it


def main() -> None:
    """Until it is killed."""
    name, port = sys.argv[1:]
    del sys.argv[1:]  # these modules read the arguments as their own
    application = importlib.import_module(name).application
    server = wsgi.Server(("127.0.0.1", int(port)), application, numthreads=THREADS, timeout=IDLE)
    try:
        server.start()
    except KeyboardInterrupt:
        server.stop()


main()
