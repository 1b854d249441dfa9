"""Connect to a listener on this machine.

step: trial
expect: honest
policy: refuses
"""

import socket

attempt("connect", lambda: socket.create_connection(("127.0.0.1", TCP_PORT), timeout=1))
attempt("connect by IPv6", lambda: socket.create_connection(("::1", TCP_PORT), timeout=1))
