from __future__ import annotations

import subprocess
import sys

import llm_repair.client


def test_all_is_sorted_and_names_everything_that_is_visible():
    visible = {
        name
        for name, value in vars(llm_repair.client).items()
        if not name.startswith("_") and type(value).__name__ != "module"
    }

    assert set(llm_repair.client.__all__) == visible
    assert (
        llm_repair.client.__all__ == sorted(llm_repair.client.__all__, key=lambda name: (not name.isupper(), name))[:]
    )


def test_every_exported_class_says_what_it_is():
    classes = [value for value in vars(llm_repair.client).values() if isinstance(value, type)]

    assert all(each.__doc__ for each in classes)


BLOCKED_IMPORT = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "numpy", "grpc_health", "obstore"):
            raise ImportError(f"{name} is not part of the base install")

sys.meta_path.insert(0, Refuse())
for root in ("llm_repair.client", "llm_repair.cli"):
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, root + "."):
        importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name.startswith("llm_repair.")))
"""


def test_client_and_command_line_import_with_the_base_install_alone_and_import_no_service():
    done = subprocess.run([sys.executable, "-c", BLOCKED_IMPORT], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    ours = {name.split(".")[1] for name in __import__("ast").literal_eval(done.stdout)}
    assert ours == {"cli", "client", "v1"}
