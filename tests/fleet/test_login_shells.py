"""Provisioning through login shells that print, and that are no sh."""

from collections.abc import Iterator

import pytest

from tests.fleet.operator import Operator
from tests.nodes import boot_bare
from tools.nodelib.fleet import Fleet

START_FILES = {"bash": ".bashrc", "tcsh": ".cshrc", "fish": ".config/fish/config.fish"}


@pytest.fixture(scope="module")
def bare() -> Iterator[Fleet]:
    made = boot_bare({"one": "12"})
    yield made
    made.remove()


@pytest.fixture(scope="module")
def operator(bare: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    made = Operator(tmp_path_factory.mktemp("operator"), bare)
    made.write_config({"name": "one", "address": f"{bare['one'].address}:9444"})
    return made


@pytest.mark.parametrize("shell", START_FILES)
def test_provisioning_and_doctor_work_through_a_login_shell_that_prints(
    bare: Fleet, operator: Operator, shell: str
) -> None:
    node = bare["one"]
    node.run(["usermod", "--shell", f"/usr/bin/{shell}", "root"])
    node.run(["sh", "-c", 'mkdir -p "$(dirname "$1")"', "sh", f"/root/{START_FILES[shell]}"])
    node.write(f"/root/{START_FILES[shell]}", "echo Welcome to one\nstty erase X\n", owner="root")
    provisioned = operator.cli.run("node", "provision", "one", timeout=300)
    assert provisioned.code == 0, provisioned
    assert "Welcome" not in provisioned.stdout
    examined = operator.cli.run("doctor", "one", timeout=120)
    assert examined.code == 0, examined
    assert "not checked over ssh" not in examined.stdout
