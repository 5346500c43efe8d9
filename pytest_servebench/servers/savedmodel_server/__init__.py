"""A stand-in for ``tensorflow_model_server``: a SavedModel over TensorFlow Serving's REST API.

It is a separate program, ``python -m pytest_servebench.servers.savedmodel_server``, which runs
the model with TensorFlow's own runtime. It takes the real server's flags, so that one launcher
serves both, and answers with the same statuses, structures and values; its error texts differ. It
exists because the real server comes from an apt repository or a container image that many machines
cannot reach.

Nothing here imports TensorFlow but ``model.py``, and that only once it is asked to load.
"""

SERVER_NAME = "savedmodel-server"
SERVER_VERSION = "0.1.0"
