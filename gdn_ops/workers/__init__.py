"""Child processes that run jobs, and that may crash, hang or run out of memory in one."""
