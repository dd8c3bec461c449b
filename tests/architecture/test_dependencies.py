"""The walls of the house: who may import whom (design: dependency rules)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "services" / "llm_repair"
CLIENTS = ROOT / "clients" / "python" / "llm_repair"
STEP_SERVICES = ("selection", "trainer", "evaluation")
HEAVY = ("torch", "transformers", "faiss", "peft", "sentence_transformers", "vllm", "detoxify", "profanity_check")


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Yields each imported module with whether it is imported at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in top
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in top


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def offenders(paths: list[Path], *forbidden: str, top_level_only: bool = False) -> list[str]:
    return sorted(
        {
            f"{path.relative_to(ROOT)} imports {name}"
            for path in paths
            for name, at_top in imports_of(path)
            if any(name == prefix or name.startswith(f"{prefix}.") for prefix in forbidden)
            and (at_top or not top_level_only)
        }
    )


def test_core_imports_only_itself_the_standard_library_numpy_and_canonical_json() -> None:
    import sys

    allowed = {*sys.stdlib_module_names, "numpy", "rfc8785", "__future__"}

    found = {
        f"{path.name} imports {name}"
        for path in files(SERVICES / "core")
        for name, _ in imports_of(path)
        if name.split(".")[0] not in allowed and not name.startswith("llm_repair.core")
    }

    assert found == set()


@pytest.mark.parametrize("service", [*STEP_SERVICES, "coordinator"])
def test_services_never_import_each_other(service: str) -> None:
    others = [f"llm_repair.{other}" for other in [*STEP_SERVICES, "coordinator"] if other != service]

    assert offenders(files(SERVICES / service), *others) == []


def test_shared_rooms_never_import_a_service() -> None:
    rooms = [path for room in ("core", "artifacts", "models", "rpc") for path in files(SERVICES / room)]

    assert offenders(rooms, *(f"llm_repair.{service}" for service in [*STEP_SERVICES, "coordinator"])) == []


def test_only_the_edge_of_a_service_knows_grpc_and_the_contract() -> None:
    edge = {"__main__.py", "servicer.py", "artifact_servicer.py", "wire.py"}
    inner = [path for path in files(SERVICES) if path.parent.name != "rpc" and path.name not in edge]

    assert offenders(inner, "grpc", "grpc_status", "google.protobuf", "llm_repair.v1") == []


def test_clients_import_the_contract_only() -> None:
    rooms = ("core", "rpc", "artifacts", "models", "coordinator", *STEP_SERVICES)

    assert offenders(files(CLIENTS), *(f"llm_repair.{room}" for room in rooms), *HEAVY, "numpy") == []


def test_heavy_libraries_are_never_imported_where_the_rpc_process_would_load_them() -> None:
    light = [path for room in ("core", "rpc", "artifacts", "coordinator") for path in files(SERVICES / room)]
    edges = [
        SERVICES / service / name
        for service in STEP_SERVICES
        for name in ("__init__.py", "__main__.py", "servicer.py", "wire.py", "settings.py")
    ]

    assert offenders([*light, *edges], *HEAVY, "pyarrow", "datasets", "sklearn", top_level_only=True) == []


def test_only_main_modules_read_the_environment() -> None:
    # The worker sets its children's environment, and an engine must set variables before it is imported.
    allowed = {"__main__.py", "worker_pool.py", "vllm.py", "embedded.py", "supervisor.py", "main.py"}
    readers = {
        str(path.relative_to(ROOT))
        for path in files(SERVICES)
        if path.name not in allowed and "os.environ" in path.read_text(encoding="utf-8")
    }

    assert readers == set()


def test_namespace_portions_have_no_init_file() -> None:
    portions = (SERVICES, CLIENTS, ROOT / "protos" / "gen" / "llm_repair")

    assert [portion for portion in portions if (portion / "__init__.py").exists()] == []


def test_no_file_is_named_after_nothing() -> None:
    forbidden = {"utils", "helpers", "common", "shared", "manager"}

    named = [
        path for path in [*files(SERVICES), *files(CLIENTS)] if path.stem in forbidden or path.parent.name in forbidden
    ]

    assert named == []


def test_every_step_service_opens_with_the_same_four_files() -> None:
    for service in [*STEP_SERVICES, "coordinator"]:
        for name in ("__main__.py", "settings.py", "servicer.py", "wire.py"):
            assert (SERVICES / service / name).is_file(), f"{service}/{name} is missing"


def test_a_planted_violation_is_caught(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def late():\n    from llm_repair.trainer import repair\n")

    caught = {name for name, _ in imports_of(planted)}

    assert "llm_repair.trainer" in caught
