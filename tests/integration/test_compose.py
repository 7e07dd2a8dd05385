"""The stacks of the folder compose/: valid, pinned, closed, and in step with the Procfile and the settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.support.dockerfile import steps
from tests.support.stack import PHONE, ROOT
from unoapi import __version__
from unoapi.devenv.docs import default_of, in_containers
from unoapi.http.address_guard import AddressGuard
from unoapi.models.provenance import OperatorAddresses
from unoapi.settings import Settings, is_secret

COMPOSE = ROOT / "compose"
STACKS = {
    "production": COMPOSE / "docker-compose.yml",
    "monitoring": COMPOSE / "monitoring" / "docker-compose.yml",
    "unochat": COMPOSE / "unochat" / "docker-compose.yml",
}
OURS = sorted(set(re.findall(r"^([a-z]+):", (ROOT / "Procfile").read_text(), re.MULTILINE)) - {"release"})
FLOWERS_OWN = {
    "FLOWER_ADDRESS",
    "FLOWER_PORT",
    "FLOWER_BASIC_AUTH",
    "FLOWER_PERSISTENT",
    "FLOWER_DB",
    "FLOWER_MAX_TASKS",
}
IN_THE_IMAGE = {"PORT", "UNOAPI_HOST"}
LONGEST_DELIVERY_S = 60
VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\})")


class Missing(Exception):
    """A required variable is not set."""


def interpolate(value: Any, variables: dict[str, str]) -> Any:
    """Replace variables in all texts, in the three forms that the stacks use."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    return VARIABLE.sub(lambda match: _replacement(match, variables), value) if isinstance(value, str) else value


def _replacement(match: re.Match[str], variables: dict[str, str]) -> str:
    if match["escaped"]:
        return "$"
    if set_to := variables.get(match["name"]):
        return set_to
    if match["kind"] != ":-":
        raise Missing(match["name"])
    return match["rest"]


def parsed(path: Path) -> dict[str, Any]:
    """One stack, with the parts that it extends from another file."""
    stack: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    for name, service in stack["services"].items():
        if "extends" in service:
            base = parsed(path.parent / service["extends"]["file"])["services"][service["extends"]["service"]]
            own = {key: value for key, value in service.items() if key != "extends"}
            environment = {**base.get("environment", {}), **own.get("environment", {})}
            stack["services"][name] = {**base, **own, "environment": environment}
    return {key: value for key, value in stack.items() if not key.startswith("x-")}


def example(path: Path) -> tuple[set[str], dict[str, str]]:
    """The variables that have to be filled in, and the defaults that the others show."""
    lines = (path.parent / ".env.example").read_text().splitlines()
    required = {match[1] for line in lines if (match := re.fullmatch(r"([A-Z][A-Z0-9_]+)=", line))}
    shown = {match[1]: match[2] for line in lines if (match := re.fullmatch(r"# ([A-Z][A-Z0-9_]+)=(\S*)", line))}
    assert len(required) + len(shown) == sum(bool(re.match(r"(# )?[A-Z][A-Z0-9_]+=", line)) for line in lines)
    return required, shown


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


def made(path: Path) -> dict[str, Any]:
    """The stack as Docker would see it, with only the required variables set."""
    required, _ = example(path)
    result: dict[str, Any] = interpolate(parsed(path), dict.fromkeys(required, "filled0in0by0somebody"))
    return result


KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def unpacked(package: str, program: str, *, suite: str = "") -> Path:
    """Where a program of a Debian package is after it was unpacked, once, if it could be fetched.

    `suite` is one of Debian that this machine does not use; its lists are read into a folder of their own.
    """
    folder = ROOT / ".run" / package
    if (folder / program).exists() or not (shutil.which("apt-get") and shutil.which("dpkg")):
        return folder / program
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        fresh, options = Path(name), []
        if suite:
            source = f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {suite} main\n"
            (fresh / "sources.list").write_text(source)
            for part in ("lists/partial", "cache/archives/partial"):
                (fresh / part).mkdir(parents=True)
            places = {"Etc::SourceList": "sources.list", "State::Lists": "lists", "Cache": "cache"}
            options = ["-o", "Dir::Etc::SourceParts=/dev/null"]
            options += [part for key, value in places.items() for part in ("-o", f"Dir::{key}={fresh / value}")]
            _quietly(["apt-get", "-q", *options, "update"], fresh)
        _quietly(["apt-get", "-q", *options, "download", package], fresh)
        for file in fresh.glob(f"{package}_*.deb"):
            _quietly(["dpkg", "-x", str(file), str(folder)], fresh)
    return folder / program


def _quietly(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)


every_stack = pytest.mark.parametrize("path", STACKS.values(), ids=STACKS)


@every_stack
def test_a_stack_is_valid(path: Path) -> None:
    schema = json.loads(
        resources.files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text()
    )
    stack = made(path)
    for service in stack["services"].values():
        replicas = service.get("deploy", {}).get("replicas")
        if replicas is not None:
            service["deploy"]["replicas"] = int(replicas)

    assert [error.message for error in Draft7Validator(schema).iter_errors(stack)] == []


@every_stack
def test_every_required_variable_is_asked_for(path: Path) -> None:
    required, _ = example(path)

    for name in required:
        with pytest.raises(Missing, match=f"^{name}$"):
            interpolate(parsed(path), dict.fromkeys(required - {name}, "filled"))


@every_stack
def test_the_example_has_every_variable_with_its_default(path: Path) -> None:
    used: dict[str, set[str]] = {}
    for text in texts(parsed(path)):
        for match in VARIABLE.finditer(text):
            if match["name"]:
                used.setdefault(match["name"], set()).add(match["rest"] if match["kind"] == ":-" else "")
    required, shown = example(path)

    assert {name: {default} for name, default in shown.items()} | {name: {""} for name in required} == used


@every_stack
def test_every_image_is_pinned(path: Path) -> None:
    images = {service["image"] for service in made(path)["services"].values()}

    assert [image for image in images if not re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]*\d[\w.-]*", image)] == []
    assert images.isdisjoint({"unoapi"})


def test_the_images_are_named_after_the_version() -> None:
    services = made(STACKS["production"])["services"]

    assert services["web"]["image"] == f"unoapi:{__version__}"
    for name in ("connector", "media"):
        assert services[name]["image"] == f"unoapi-{name}:{__version__}"
        assert services[name]["build"]["target"] == name


@every_stack
def test_every_service_has_limits_bounded_logs_and_comes_back(path: Path) -> None:
    for name, service in made(path)["services"].items():
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name
        assert service["restart"] in {"unless-stopped", "on-failure"}, name


@every_stack
def test_what_a_service_names_is_there(path: Path) -> None:
    stack = made(path)

    for name, service in stack["services"].items():
        assert set(service["networks"]) <= stack["networks"].keys(), name
        needs = service.get("depends_on", {})
        for needed, how in (needs if isinstance(needs, dict) else dict.fromkeys(needs)).items():
            assert needed in stack["services"], name
            if how and how["condition"] == "service_healthy":
                assert "healthcheck" in stack["services"][needed], f"{name} waits for {needed}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in stack["volumes"] or source.startswith("/") or (path.parent / source).exists(), volume


@every_stack
def test_only_the_reverse_proxy_listens_to_the_world(path: Path) -> None:
    for name, service in made(path)["services"].items():
        for port in service.get("ports", []):
            assert name == "traefik" or re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), f"{name}: {port}"


# What is reached from the world, and what only few may reach.
SEPARATED = {
    "production": {},
    "unochat": {
        "traefik": ("rabbitmq", "redis", "flower", "postgres", "chatwoot-redis"),
        "chatwoot": ("rabbitmq", "redis", "flower"),
        "chatwoot-worker": ("rabbitmq", "redis", "flower"),
        "postgres": (*OURS, "rabbitmq", "redis"),
        "chatwoot-redis": (*OURS, "rabbitmq", "redis"),
    },
    "monitoring": {},
}


@pytest.mark.parametrize("stack", SEPARATED)
def test_who_has_no_business_with_a_server_does_not_reach_it(stack: str) -> None:
    services = made(STACKS[stack])["services"]

    for name, others in SEPARATED[stack].items():
        for other in others:
            assert set(services[name]["networks"]).isdisjoint(services[other]["networks"]), f"{name} reaches {other}"


def test_only_the_api_is_in_front_and_only_prometheus_looks_in() -> None:
    production, monitoring = (made(STACKS[name])["services"] for name in ("production", "monitoring"))

    assert [name for name, service in production.items() if "front" in service["networks"]] == ["proxy", "web"]
    assert [name for name, service in monitoring.items() if "unoapi" in service["networks"]] == ["prometheus"]


SECRETS = {name.upper() for name in Settings.model_fields if is_secret(name)} | {"FLOWER_BASIC_AUTH"}
SERVERS = {"AMQP_URL", "REDIS_URL", "SENTRY_DSN"}
NEEDED = {
    "connector": SERVERS | {"STORAGE_ACCESS_KEY_ID", "STORAGE_SECRET_ACCESS_KEY", "PROXY_URL"},
    "flower": SERVERS | {"RABBITMQ_MANAGEMENT_URL", "FLOWER_BASIC_AUTH"},
}


@pytest.mark.parametrize("stack", ["production", "unochat"])
@pytest.mark.parametrize("service", NEEDED)
def test_what_parses_what_strangers_send_or_shows_itself_has_only_the_secrets_that_it_needs(
    stack: str, service: str
) -> None:
    environment = made(STACKS[stack])["services"][service]["environment"]

    assert SECRETS & environment.keys() == NEEDED[service]


@pytest.mark.parametrize("service", ["web", "worker", "media", "suspect", "connector"])
def test_chatwoot_gets_its_events_and_is_closed_to_whatever_tenants_name(service: str) -> None:
    """Its address inside is the operator's webhook alone; its files have public addresses."""
    environment = made(STACKS["unochat"])["services"][service]["environment"]
    operators, inside = OperatorAddresses(url=environment["WEBHOOK_URL"]), "172.20.0.5"
    guard = AddressGuard(tuple(filter(None, environment["UNOAPI_ALLOWED_HOSTS"].split(","))))

    assert operators.include(f"http://chatwoot:3000/webhooks/whatsapp/{PHONE}", phone=PHONE)
    for path in ("api/v1/accounts/1/agents", "rails/active_storage/blobs/1", "webhooks/whatsapp/5511000000000"):
        assert not operators.include(f"http://chatwoot:3000/{path}", phone=PHONE)
        assert guard.refusal(f"http://chatwoot:3000/{path}", ip=inside)


@every_stack
def test_no_secret_stands_in_the_arguments_of_a_process(path: Path) -> None:
    stack = parsed(path)["services"]

    for name, service in stack.items():
        words = texts([service.get("command", []), service.get("entrypoint", []), service.get("healthcheck", {})])
        used = {match["name"] for word in words for match in VARIABLE.finditer(word) if match["name"]}
        assert [variable for variable in used if re.search("PASSWORD|SECRET|TOKEN|AUTH", variable)] == [], name
        assert not any("requirepass" in word and "\n" not in word for word in words), name


def redis_servers() -> list[Any]:
    return [
        pytest.param(service, id=f"{stack}-{name}")
        for stack, path in STACKS.items() for name, service in made(path)["services"].items()
        if service["image"].startswith("redis:")
    ]  # fmt: skip


@pytest.mark.parametrize("service", redis_servers())
def test_redis_gets_its_password_in_a_file_that_is_its_own(tmp_path: Path, service: dict[str, Any]) -> None:
    """The start script as it stands, with stand-ins for what only the image has."""
    for program, body in {"docker-entrypoint.sh": 'printf "%s " "$@"', "chown": "exit 0"}.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / program).chmod(0o755)
    shell, option, script = service["command"]
    file = tmp_path / "redis.conf"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REDISCLI_AUTH": "drawn0123"}

    done = subprocess.run(
        [shell, option, script.replace("/tmp/redis.conf", str(file))],
        env=environment, capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"redis-server {file} --appendonly yes")
    assert "drawn0123" not in done.stdout
    assert file.read_text() == 'requirepass "drawn0123"\n'
    assert file.stat().st_mode & 0o077 == 0


def test_production_can_be_pasted_into_an_editor() -> None:
    volumes = [
        volume for service in made(STACKS["production"])["services"].values() for volume in service.get("volumes", [])
    ]

    assert [volume for volume in volumes if volume.startswith((".", "/"))] == []
    assert "env_file" not in STACKS["production"].read_text()


@pytest.mark.parametrize("stack", ["production", "unochat"])
def test_every_process_of_the_procfile_has_a_service(stack: str) -> None:
    services = made(STACKS[stack])["services"]
    commands = {name: service["command"] for name, service in services.items() if name in OURS}

    assert len(OURS) >= 6
    assert commands == {name: [name] for name in OURS}


@pytest.mark.parametrize("stack", ["production", "unochat"])
@pytest.mark.parametrize("service", OURS)
def test_every_name_in_the_environment_is_a_setting(stack: str, service: str) -> None:
    settings = {name.upper() for name in Settings.model_fields} | FLOWERS_OWN
    environment = made(STACKS[stack])["services"][service]["environment"]

    assert {name for name in environment if name not in settings} == set()
    Settings.model_validate({
        name.lower(): str(value) for name, value in environment.items()
        if name.lower() in Settings.model_fields and name != "BASE_URL" and value
    })  # fmt: skip


@pytest.mark.parametrize("stack", ["production", "unochat"])
@pytest.mark.parametrize("service", ["web", "worker", "media", "suspect", "connector"])
def test_every_setting_reaches_the_containers(stack: str, service: str) -> None:
    environment = made(STACKS[stack])["services"][service]["environment"]
    missing = {name.upper() for name in Settings.model_fields} - environment.keys() - IN_THE_IMAGE

    assert missing - {"UNOAPI_CONNECTOR_STORE"} == (SECRETS - NEEDED["connector"] - {"FLOWER_BASIC_AUTH"}
                                                    if service == "connector" else set())  # fmt: skip


def test_an_empty_setting_of_a_stack_is_the_default() -> None:
    """What the stacks hand on when nothing is set."""
    names = [name for name in in_containers() if default_of(name)]
    with mock.patch.dict(os.environ, {name.upper(): "" for name in names}, clear=True):
        settings = Settings(_env_file=None)

    assert len(names) > 40
    assert {name: getattr(settings, name) for name in names} == {
        name: Settings.model_fields[name].get_default() for name in names
    }


@pytest.fixture(scope="module")
def docker_compose() -> str:
    """Docker Compose 2: installed, or unpacked from Debian's package without installing it."""
    found = [Path("/usr/libexec/docker/cli-plugins/docker-compose"), Path("/usr/bin/docker-compose")]
    for program in (unpacked("docker-compose", "usr/bin/docker-compose", suite="trixie"), *found):
        if program.exists() and b" v2" in b" v" + _version(program):
            return str(program)
    pytest.skip("Docker Compose 2 is not here and Debian's package docker-compose cannot be fetched")


def _version(program: Path) -> bytes:
    done = subprocess.run([program, "version", "--short"], capture_output=True, timeout=20, check=False)
    return done.stdout.strip()


@every_stack
def test_docker_compose_takes_the_stack_with_nothing_but_its_own_example_filled(
    docker_compose: str, tmp_path: Path, path: Path
) -> None:
    filled = re.sub(r"(?m)^([A-Z_]+)=$", r"\1=filled0in0by0somebody", (path.parent / ".env.example").read_text())
    (tmp_path / "env").write_text(filled)

    done = subprocess.run(
        [docker_compose, "--env-file", str(tmp_path / "env"), "--file", str(path), "config", "--quiet"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("guide", ["README.md", "README.pt-BR.md"])
def test_the_operators_token_may_come_from_a_file_as_the_guide_shows(
    docker_compose: str, tmp_path: Path, guide: str
) -> None:
    path = STACKS["production"]
    filled = re.sub(r"(?m)^([A-Z_]+)=$", r"\1=filled0in0by0somebody", (path.parent / ".env.example").read_text())
    (tmp_path / "env").write_text(filled)
    (tmp_path / "more.yml").write_text((COMPOSE / guide).read_text().split("```yaml\n")[1].split("```")[0])

    done = subprocess.run(
        [docker_compose, "--env-file", str(tmp_path / "env"), "-f", str(path), "-f", str(tmp_path / "more.yml"),
         "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    services = json.loads(done.stdout or "{}").get("services", {})
    given = {name: service.get("environment") or {} for name, service in services.items()}
    assert done.returncode == 0, done.stderr
    with_file = {name for name, environment in given.items() if "UNOAPI_AUTH_TOKEN_FILE" in environment}
    assert with_file == {"web", "worker", "media", "suspect"}
    assert {name for name, environment in given.items() if "UNOAPI_AUTH_TOKEN" in environment} == set()
    assert all(given[name]["AMQP_URL"] for name in with_file)


def test_only_the_proxy_has_the_port_of_the_api_so_that_web_may_have_replicas() -> None:
    services = made(STACKS["production"])["services"]

    assert services["proxy"]["ports"] == ["127.0.0.1:9876:9876"]
    assert "ports" not in services["web"]
    assert "server-template web- 16 web:9876" in services["proxy"]["command"][2]


@pytest.mark.parametrize("stack", ["production", "unochat"])
@pytest.mark.parametrize("service", OURS)
def test_a_container_of_ours_writes_to_its_volumes_and_to_tmp_alone(stack: str, service: str) -> None:
    made_service = made(STACKS[stack])["services"][service]

    assert (made_service["read_only"], made_service["tmpfs"]) == (True, ["/tmp:size=256m,mode=1777"])
    assert made_service["deploy"]["resources"]["limits"]["memory"] in {"512M", "1G"}
    stored = {made_service["environment"].get(name) for name in ("BASE_STORE", "UNOAPI_CONNECTOR_STORE")} - {None}
    assert stored <= {volume.split(":")[1] for volume in made_service["volumes"]}


def test_the_servers_refuse_before_their_limit_ends_them() -> None:
    services = made(STACKS["production"])["services"]
    limits = {name: services[name]["deploy"]["resources"]["limits"]["memory"] for name in ("rabbitmq", "redis")}

    arguments = services["rabbitmq"]["environment"]["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert f"total_memory_available_override_value {limits['rabbitmq']} " in arguments
    assert '--maxmemory "384mb" --maxmemory-policy noeviction' in services["redis"]["command"][2]
    assert limits["redis"] == "512M"


def test_a_worker_may_finish_its_deliveries() -> None:
    grace = made(STACKS["production"])["services"]["worker"]["stop_grace_period"]

    assert int(grace.removesuffix("s")) > LONGEST_DELIVERY_S


# --- the image ---


def test_the_image_has_a_pinned_base_an_unprivileged_user_and_a_health_check() -> None:
    names = {base.split(" AS ")[1] for word, base in steps() if word == "FROM"}
    bases = {base.split(" AS ")[0] for word, base in steps() if word == "FROM"} - names

    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert len(bases) == 1
    assert ("USER", "unoapi") in steps()
    assert {"unoapi", "connector"} <= names
    assert "HEALTHCHECK" in {word for word, _ in steps()}


def test_the_programs_layers_hold_no_compiled_modules_so_that_an_upgrade_is_small() -> None:
    own = [rest for word, rest in steps() if word == "RUN" and "/program/unoapi" in rest]
    files = [path for name in ("unoapi", "tasks") for path in (ROOT / name).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files if path.suffix != ".pyc")

    assert len(own) == 3
    assert all("--no-compile" in command for command in own)
    assert size * 1.4 < 5_000_000, "with the wheel, which is packed, beside it"


def test_everything_the_image_copies_is_there_and_not_ignored() -> None:
    copied = {
        source for word, rest in steps() if word == "COPY" and "--from" not in rest
        for source in [part for part in rest.split() if not part.startswith("--")][:-1]
    }  # fmt: skip
    wanted = {
        line[1:] for line in (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }

    assert copied == wanted
    assert [source for source in copied if not (ROOT / source).exists()] == []


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "Procfile").write_text("web: echo ${WHO:-nobody} listens\nworker: sh -c 'echo it works; exit 3'\n")
    environment = {"PATH": os.environ["PATH"], "PROCFILE": str(folder / "Procfile")}
    command = ["/bin/sh", str(COMPOSE / "start"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["web"], 0, "nobody listens\n"),
        (["worker"], 3, "it works\n"),
        (["echo", "dead", "list"], 0, "dead list\n"),
        (["/bin/echo", "x"], 0, "x\n"),
        (["web", "now"], 64, ""),
        (["nothing"], 127, ""),
        ([], 64, ""),
    ],
)
def test_the_command_chooses_the_process(tmp_path: Path, arguments: list[str], code: int, output: str) -> None:
    done = start(tmp_path, *arguments)

    assert (done.returncode, done.stdout) == (code, output), done.stderr


def test_the_stack_test_says_when_there_is_no_engine_to_run_it(tmp_path: Path) -> None:
    for program in ("dirname", "sh"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    script = str(COMPOSE / "stack-test")

    checked = subprocess.run(["/bin/sh", "-n", script], capture_output=True, timeout=10, check=False)
    done = subprocess.run(
        ["/bin/sh", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=10, check=False
    )

    assert checked.returncode == 0, checked.stderr
    assert (done.returncode, "nothing was tried" in done.stderr) == (0, True)


# --- monitoring ---

PROMETHEUS = COMPOSE / "monitoring" / "prometheus"
DASHBOARD = COMPOSE / "monitoring" / "grafana" / "dashboards" / "unoapi.json"


@pytest.fixture(scope="module")
def promtool() -> str:
    """The checker of Prometheus: installed, or unpacked from Debian's package without installing it."""
    if installed := shutil.which("promtool"):
        return installed
    program = unpacked("prometheus", "usr/bin/promtool")
    if not program.exists():
        pytest.skip("promtool is not here and Debian's package prometheus cannot be fetched")
    return str(program)


@pytest.mark.parametrize(
    "command", [["check", "config", "prometheus.yml"], ["test", "rules", "rules.test.yml"]], ids=" ".join
)
def test_prometheus_accepts(promtool: str, command: list[str]) -> None:
    done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, str]]:
    groups = yaml.load((PROMETHEUS / "rules.yml").read_text(), Loader=yaml.CSafeLoader)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = [
        case for test in yaml.load((PROMETHEUS / "rules.test.yml").read_text(), Loader=yaml.CSafeLoader)["tests"]
        for case in test["alert_rule_test"]
    ]  # fmt: skip
    names = {rule["alert"] for rule in rules()}

    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_prometheus_asks_the_services_that_are_there() -> None:
    scrape = yaml.load((PROMETHEUS / "prometheus.yml").read_text(), Loader=yaml.CSafeLoader)["scrape_configs"]
    services = made(STACKS["production"])["services"].keys() | made(STACKS["monitoring"])["services"].keys()
    asked = {name for job in scrape for lookup in job.get("dns_sd_configs", []) for name in lookup["names"]}
    asked |= {
        target.split(":")[0]
        for job in scrape
        for static in job.get("static_configs", [])
        for target in static["targets"]
    }

    assert asked - {"localhost"} <= services
    assert {"web", "worker", "media", "rabbitmq", "cadvisor"} <= asked


def test_no_panel_covers_another_one() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y) for panel in panels for box in [panel["gridPos"]]
        for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])
    ]  # fmt: skip

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in panels}) == len(panels)
