"""Single objects of a HostState as the text that a program reads: one module for each program.

Golden files, `explain` and the data plane all use these renderers, so that what a person reads is what
the host gets. A value is written only in its own form (`values.py`): one that the program would read as something
else raises Unwritable.
"""
