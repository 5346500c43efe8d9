"""Programs that serve an ONNX file, run by the interpreter of an environment of their own.

They import nothing of this package, which need not be installed there, and each other by plain
names, as their directory is on the path.
"""
