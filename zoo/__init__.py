"""The zoo: the servers of ``examples/``, each in an environment of its own, under the same load."""
