"""Run by the Python that has Neutron: the reference with the services that Netloom offers, no more.

PYTHON-WITH-NEUTRON serve_oracle.py FOLDER_OF_neutron_oracle.py PORT STATE_FOLDER
"""

import sys
import threading
import wsgiref.simple_server

sys.path[0] = sys.argv[1]
import neutron_oracle as oracle  # noqa: E402  found only on the path above


def forget_agents() -> None:
    """Take away the agents that the oracle begins with: they are alive for 75 s, and Netloom has no host here."""
    from neutron_lib import context
    from neutron_lib.plugins import directory

    admin, plugin = context.get_admin_context(), directory.get_plugin()
    for agent in plugin.get_agents(admin):
        plugin.delete_agent(admin, agent["id"])


app = oracle.load(
    sys.argv[3], plugins="router,qos,trunk,port_forwarding", drivers="port_security,qos"
)
oracle.pass_context_through()
oracle.seed()
forget_agents()
threading.excepthook = lambda *_: None
with wsgiref.simple_server.make_server(
    "127.0.0.1", int(sys.argv[2]), oracle.identify(app), oracle.Server, oracle.Quiet
) as server:
    print("ready", flush=True)
    server.serve_forever()
