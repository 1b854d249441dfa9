"""The hostile tasks on a machine that refuses namespaces: the server's own filter stands for an older kernel's."""

import errno

import pyseccomp
from hostile_tasks import TASKS

__all__ = ["TASKS", "warm_up"]


def warm_up() -> None:
    refusing = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refusing.add_rule(pyseccomp.ERRNO(errno.EPERM), "unshare")
    refusing.load()
