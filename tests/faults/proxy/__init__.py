"""A fault proxy on the loopback: real servers behind it, faults on the way, switched at any time.

Not here: which faults a scenario wants (the tests beside).
"""

from tests.faults.proxy.http import HttpProxy
from tests.faults.proxy.tcp import TcpProxy

__all__ = ["HttpProxy", "TcpProxy"]
