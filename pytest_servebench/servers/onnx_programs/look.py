"""Print as JSON what an environment has and what an ONNX file takes: ``look.py FILE MODULE...``."""

import importlib.metadata
import importlib.util
import json
import sys
import sysconfig


def main() -> None:
    """Print versions by module (null: missing), inputs with rank and type, and what is wrong."""
    path, *modules = sys.argv[1:]
    distributions = importlib.metadata.packages_distributions()
    versions = {
        module: importlib.metadata.version(distributions[module][0])
        if importlib.util.find_spec(module) and module in distributions
        else None
        for module in modules
    }
    found = {"versions": versions, "libraries": sysconfig.get_config_var("LIBDIR")}
    if all(versions.values()):
        try:
            import numpy as np  # noqa: PLC0415
            from onnx_model import (  # type: ignore[import-not-found]  # noqa: PLC0415
                DATATYPES,
                OnnxModel,
            )

            found["inputs"] = {
                name: (len(each.shape), np.dtype(DATATYPES[each.type][1]).name)
                for name, each in OnnxModel(path, 1).inputs.items()
            }
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
