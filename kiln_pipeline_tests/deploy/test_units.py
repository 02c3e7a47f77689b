"""The files of deploy/ that start things: they parse, and a build host's name nothing that is the publisher's."""

import json
import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PLANE, HOST = DEPLOY / "control-plane", DEPLOY / "build-host"
UNITS = sorted(PLANE.glob("systemd/*.service"))


def variables(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def directives(unit: Path, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{name}=")]


@pytest.mark.parametrize("unit", [*UNITS, HOST / "kiln-host.service"], ids=lambda unit: unit.name)
def test_systemd_takes_each_unit(unit: Path, tmp_path: Path) -> None:
    """Verified with the programs, users and files of this machine in place of the deployment's."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: apt-get install systemd")
    program = tmp_path / "program"
    program.touch(mode=0o755)
    text = "\n".join(
        f"ExecStart={program} {line.partition(' ')[2]}" if line.startswith("ExecStart=") else line
        for line in unit.read_text().splitlines()
    )
    there = tmp_path / unit.name
    there.write_text(text.replace("/opt/kiln", str(tmp_path)).replace("%h", str(tmp_path)))
    said = subprocess.run(["systemd-analyze", "verify", there], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in said.stderr.splitlines() if unit.name in line and "Failed to create" not in line]
    assert (ours, said.returncode) == ([], 0), said.stderr


def test_the_plist_starts_the_same_command() -> None:
    plist = plistlib.loads((HOST / "org.kiln.host.plist").read_bytes())
    (unit,) = directives(HOST / "kiln-host.service", "ExecStart")
    assert plist["ProgramArguments"][-1].endswith(unit.replace("%h/kiln/", "exec "))
    assert plist["KeepAlive"] is True
    subprocess.run(["sh", "-n", "-c", plist["ProgramArguments"][-1]], check=True, timeout=10)


def test_a_build_host_names_nothing_of_the_publishers() -> None:
    """No variable that only the publisher has, none of its values, and no file of its own."""
    host, publisher = variables(HOST / "host.env.example"), variables(PLANE / "publisher.env.example")
    assert not {"KILN_HOME", "KILN_HOSTS", "KILN_ORIGIN", "GITHUB_TOKEN"} & host.keys()
    assert host["AWS_ACCESS_KEY_ID"] != publisher["AWS_ACCESS_KEY_ID"]
    assert host["KILN_DATABASE"].split("@")[0] != variables(PLANE / "control-plane.env.example")["KILN_DATABASE"].split("@")[0]
    for path in HOST.iterdir():
        assert "publisher.env" not in path.read_text()
        assert "log.pem" not in path.read_text()


def test_a_build_host_may_write_to_the_inbox_and_do_nothing_else_there() -> None:
    policy = json.loads((HOST / "inbox-policy.json").read_text())
    rights = {(right, resource) for each in policy["Statement"] for right in each["Action"] for resource in each["Resource"]}
    assert {right for right, resource in rights if "inbox" in resource} == {"s3:PutObject"}
    assert {right for right, resource in rights if "inbox" not in resource} == {"s3:GetObject", "s3:ListBucket"}


def test_only_the_publisher_holds_the_publishing_credentials() -> None:
    holds = {unit.stem: directives(unit, "EnvironmentFile") for unit in UNITS}
    shared = "/etc/kiln/control-plane.env"
    assert holds == {
        "kiln-daemon": [shared],
        "kiln-publisher": [shared, "/etc/kiln/publisher.env"],
        "kiln-web": [shared],
    }
    assert {unit.stem: directives(unit, "User") for unit in UNITS} == {
        "kiln-daemon": ["kiln"],
        "kiln-publisher": ["kiln-publisher"],
        "kiln-web": ["kiln"],
    }
    assert not any("AWS" in name or "SITE" in name for name in variables(PLANE / "control-plane.env.example"))


def test_the_compose_file_is_the_units_again() -> None:
    """The same commands and the same credentials, all services known, only on loopback; the image has what they start."""
    compose = yaml.safe_load((PLANE / "compose.yaml").read_text())
    services = compose["services"]
    assert sorted(services) == ["daemon", "postgres", "publisher", "redis", "web"]
    for unit in UNITS:
        name = unit.stem.removeprefix("kiln-")
        (command,) = directives(unit, "ExecStart")
        assert services[name]["command"].replace("0.0.0.0", "127.0.0.1") == command.removeprefix("/opt/kiln/.venv/bin/")
        files = [Path(file).name for file in directives(unit, "EnvironmentFile")]
        assert services[name]["env_file"] == files
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for volume in service.get("volumes", ()):
            assert volume.startswith("./") or volume.partition(":")[0] in compose["volumes"]
        assert set(service.get("secrets", ())) <= compose["secrets"].keys()
    assert shlex.split(services["redis"]["command"])[:2] == ["sh", "-c"]
