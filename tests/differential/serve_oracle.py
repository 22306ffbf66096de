"""Run by the Python that has Neutron: the reference with the services that Netloom offers, no more.

PYTHON-WITH-NEUTRON serve_oracle.py FOLDER_OF_neutron_oracle.py PORT STATE_FOLDER
"""

import sys
import threading
import wsgiref.simple_server

sys.path[0] = sys.argv[1]
import neutron_oracle as oracle  # noqa: E402  found only on the path above

app = oracle.load(sys.argv[3], plugins="router", drivers="port_security")
oracle.pass_context_through()
oracle.seed()
threading.excepthook = lambda *_: None
with wsgiref.simple_server.make_server(
    "127.0.0.1", int(sys.argv[2]), oracle.identify(app), oracle.Server, oracle.Quiet
) as server:
    print("ready", flush=True)
    server.serve_forever()
