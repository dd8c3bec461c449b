"""The contract's house rules: lint, comments, no drift of the stubs, reasons and errors in step."""

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

from llm_repair.core.errors import Code, leaves
from llm_repair.v1 import error_reason_pb2

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_protos_pass_lint_and_are_formatted() -> None:
    for arguments in (["lint"], ["format", "--diff", "--exit-code"]):
        done = subprocess.run([BIN / "buf", *arguments, "protos"], cwd=ROOT, capture_output=True, text=True)

        assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_breaks_nothing_that_was_released() -> None:
    done = subprocess.run(
        [BIN / "buf", "breaking", "protos", "--against", "protos/released.binpb"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_removed_field_is_caught_as_breaking(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=shutil.ignore_patterns("gen"))
    contract = tmp_path / "protos" / "llm_repair" / "v1" / "types.proto"
    text = contract.read_text()
    contract.write_text(text.replace("  bool is_tree = 3;", ""))

    done = subprocess.run(
        [BIN / "buf", "breaking", "protos", "--against", ROOT / "protos" / "released.binpb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert text != contract.read_text()
    assert done.returncode == 100
    assert "is_tree" in done.stdout


def test_stubs_do_not_drift_from_the_protos(tmp_path: Path) -> None:
    subprocess.run(["make", "--silent", "stubs", f"STUBS={tmp_path}"], cwd=ROOT, check=True, capture_output=True)

    committed, fresh = ROOT / "protos" / "gen" / "llm_repair" / "v1", tmp_path / "llm_repair" / "v1"
    names = sorted(path.name for path in fresh.iterdir())

    assert names == sorted(path.name for path in committed.iterdir() if path.suffix in {".py", ".pyi"})
    assert filecmp.cmpfiles(committed, fresh, names, shallow=False)[1:] == ([], [])


def test_every_reason_has_an_error_and_every_error_a_reason() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118

    assert reasons - {"UNSPECIFIED", "INTERNAL"} == {
        leaf.reason for leaf in leaves() if leaf.reason != "SERVICE_UNREACHABLE"
    }


def test_reasons_are_unique_and_codes_canonical() -> None:
    reasons = [leaf.reason for leaf in leaves()]

    assert len(set(reasons)) == len(reasons)
    assert all(isinstance(leaf.code, Code) for leaf in leaves())
