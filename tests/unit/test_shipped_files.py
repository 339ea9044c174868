"""Files that ship beside the code: cluster manifests, configurations and documents."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import advsim
from advsim.chatbots.load import check_called_chatbots, load_chatbots
from advsim.cli import _parser
from advsim.commands.check import is_chatbot
from advsim.commands.evaluate import evaluation_config
from advsim.commands.options import is_sweep
from advsim.config import ChatbotConfig, SweepConfig, load_config, load_section, parse_config, read_yaml
from advsim.lab.config import LabConfig

ROOT = Path(__file__).resolve().parents[2]
CLUSTER_FILES = sorted((ROOT / "cluster").glob("*.yaml"))
LAB_CONFIG = ROOT / "configs" / "lab.yaml"  # the lab has a schema of its own
CHATBOTS = sorted((ROOT / "configs" / "chatbots").glob("*.yaml"))
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
CONFIGS = sorted(set((ROOT / "configs").rglob("*.yaml")) - {LAB_CONFIG, *CHATBOTS, *SWEEPS})
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "cluster/*.md", "advsim/**/*.md")
    for path in ROOT.glob(pattern)
)
TEXT_SUFFIXES = {".cff", ".cfg", ".css", ".html", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}
SKIPPED_FOLDERS = {"build", "dist", "runs"}
WRITTEN_BY_RUNS = ("runs/", "logs/", "RUN/", ".harnesses/")
GONE = ("benchmarks/validity.py",)  # the changelog says what it has become
HIDDEN_SHIPPED = {".ci", ".github", ".gitignore", ".pre-commit-config.yaml"}
MACHINE_PATH = re.compile(r"(?<![\w.~$}-])/(?:root|work)(?=/|\s|['\"`)]|$)", re.MULTILINE)


def shipped_texts() -> list[Path]:
    found = []
    for top in sorted(ROOT.iterdir()):
        if top.name.startswith(".") and top.name not in HIDDEN_SHIPPED:
            continue
        if top.name in SKIPPED_FOLDERS or top.name.endswith(".egg-info"):
            continue
        inside = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        found += [path for path in inside if path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts]
    return found


def documents(path: Path) -> list[dict[str, object]]:
    return [loaded for loaded in yaml.safe_load_all(path.read_text(encoding="utf-8")) if loaded is not None]


def test_there_are_cluster_files_and_configs() -> None:
    assert {path.name for path in CLUSTER_FILES} >= {"ray_up.yaml", "kuberay_rayjob.yaml"}
    assert {path.name for path in CONFIGS} >= {"quickstart.yaml", "paper.yaml", "esconv_small.yaml"}


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: path.name)
def test_cluster_file_is_yaml_with_mappings(path: Path) -> None:
    loaded = documents(path)
    assert loaded and all(isinstance(document, dict) for document in loaded)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_config_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load_config(path).name == path.stem


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_shipped_sweep_is_valid_and_names_chatbots_that_ship(path: Path) -> None:
    sweep = load_section(SweepConfig, path)
    assert all((ROOT / name).exists() for name in [*sweep.chatbots, *([sweep.scenarios] if sweep.scenarios else [])])


def test_shipped_lab_config_is_valid_by_its_own_schema() -> None:
    lab = load_section(LabConfig, LAB_CONFIG)
    assert lab.num_chatbots >= 20
    assert len([simulator for simulator in lab.simulators.values() if not simulator.is_right]) >= 5


def test_example_chatbots_have_every_kind_that_is_not_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    chatbots = load_chatbots(ROOT / "examples" / "chatbots")
    check_called_chatbots(chatbots)
    assert {chatbot.kind for chatbot in chatbots} == {"python", "endpoint", "http", "scripted"}


@pytest.mark.parametrize("path", CHATBOTS, ids=lambda path: path.name)
def test_shipped_chatbot_is_valid_and_named_after_its_file(path: Path) -> None:
    assert [chatbot.name for chatbot in load_chatbots(path)] == [path.stem]


def test_ray_up_file_follows_rays_own_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    spec = importlib.util.find_spec("ray")
    schema = Path(spec.origin or "").parent / "autoscaler" / "ray-schema.json" if spec else None
    if schema is None or not schema.is_file():
        pytest.skip("this version of Ray has no autoscaler/ray-schema.json")
    [config] = documents(ROOT / "cluster" / "ray_up.yaml")
    jsonschema.validate(config, json.loads(schema.read_text(encoding="utf-8")))
    assert config["head_node_type"] in config["available_node_types"]


def test_ray_up_turns_token_authentication_on_for_every_machine() -> None:
    [config] = documents(ROOT / "cluster" / "ray_up.yaml")
    assert any(path.endswith(".ray/auth_token") for path in config["file_mounts"])
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in config[key] if "ray start" in command]
        assert starts and all("RAY_AUTH_MODE=token" in command for command in starts)


def test_kuberay_job_turns_token_authentication_on() -> None:
    job = next(found for found in documents(ROOT / "cluster" / "kuberay_rayjob.yaml") if found["kind"] == "RayJob")
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_kuberay_job_names_the_pinned_ray_version() -> None:
    job = next(found for found in documents(ROOT / "cluster" / "kuberay_rayjob.yaml") if found["kind"] == "RayJob")
    pins = (ROOT / "constraints" / "gpu.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={job['spec']['rayClusterSpec']['rayVersion']}" in pins


def test_readme_names_both_commands_and_the_makefile_has_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("quickstart", "test"):
        assert re.search(rf"^make {command}\b", readme, re.MULTILINE)
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_documents_are_those_that_are_meant() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/evaluating.md", "cluster/README.md"} <= {*DOCUMENTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_to_files_of_the_project_lead_somewhere(name: str) -> None:
    document = ROOT / name
    targets = re.findall(r"\[[^\]]*\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_of_the_project_that_a_document_names_are_there(name: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|yaml|yml|md|sh|toml)|(?:[\w.-]+/)+)`", text)
    folders = (ROOT, ROOT / "advsim", ROOT / "advsim" / "detectors" / "rules", (ROOT / name).parent)
    gone = [path for path in named if not any((folder / path).exists() for folder in folders)]
    assert [path for path in gone if not path.startswith((*WRITTEN_BY_RUNS, *GONE))] == []


def fenced(name: str, kind: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in blocks if language == kind]


def printed_commands(name: str) -> list[list[str]]:
    lines = "\n".join(fenced(name, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("advsim ")]


COMMANDS = [(name, command) for name in DOCUMENTS for command in printed_commands(name)]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_printed_commands_are_taken_by_the_command_line_and_their_keys_by_the_configuration(
    name: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    options = _parser().parse_args(command)
    if options.module == "check" and is_chatbot(read_yaml(options.config)):
        load_chatbots(options.config, overrides=options.overrides)
    elif options.module in ("check", "cluster.submit") and is_sweep(read_yaml(options.config)):
        load_section(SweepConfig, options.config, options.overrides)
    elif options.module in ("train", "check", "cluster.submit"):
        load_config(options.config, options.overrides)
    elif options.module == "sweep":
        load_section(SweepConfig, options.config, options.overrides)
    elif options.module == "lab":
        load_section(LabConfig, options.config, options.overrides)
    elif options.module == "evaluate":
        flags = [f"evaluate.detector={options.detector}"] if options.detector else []
        evaluation_config(None, [*flags, *options.overrides])


def workflow_steps(values: object) -> list[str]:
    """What the steps of a printed workflow, or of a part of one, run."""
    if isinstance(values, dict):
        own = [values["run"]] if isinstance(values.get("run"), str) else []
        return own + [step for value in values.values() for step in workflow_steps(value)]
    return [step for value in values for step in workflow_steps(value)] if isinstance(values, list) else []


WORKFLOW_STEPS = [
    (name, step)
    for name in DOCUMENTS
    for block in fenced(name, "yml")
    for step in workflow_steps(yaml.safe_load(block))
]


@pytest.mark.parametrize(("name", "step"), WORKFLOW_STEPS, ids=lambda value: value[:40])
def test_steps_of_printed_workflows_are_taken_by_the_command_line(name: str, step: str) -> None:
    words = shlex.split(step.split("||")[0])
    if words[0] == "advsim":
        _parser().parse_args(words[1:])


def test_a_printed_workflow_sweeps_and_gates() -> None:
    [workflow] = [yaml.safe_load(block) for block in fenced("docs/gate.md", "yml") if "jobs:" in block]
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] > 0
    assert [step["run"].split()[:2] for step in job["steps"] if "run" in step] == [
        ["advsim", "sweep"],
        ["advsim", "gate"],
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_printed_settings_are_a_valid_configuration_or_chatbot(name: str) -> None:
    for block in fenced(name, "yaml"):
        values = yaml.safe_load(block)
        if is_chatbot(values):
            ChatbotConfig.model_validate(values)
        else:
            parse_config(values)


def test_documents_print_commands_of_every_kind() -> None:
    assert {command[0] for _, command in COMMANDS} >= {"check", "train", "report", "evaluate", "sweep", "lab", "corpus"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_printed_python_reads_and_calls_what_the_package_exports(name: str) -> None:
    for snippet in fenced(name, "python"):
        calls = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in calls if isinstance(node.value, ast.Name) and node.value.id == "advsim"}
        assert used and used <= {*advsim.__all__}


def test_readme_has_a_line_for_every_folder_of_the_package() -> None:
    [tree] = [block for block in fenced("README.md", "") if block.startswith("advsim/")]
    inside = tree[: tree.index("\nconfigs/")]
    folders = {path.parent.name for path in (ROOT / "advsim").glob("*/__init__.py")}
    assert {*re.findall(r"([a-z_]+)/", inside)} - {"advsim"} == folders


def test_every_module_on_architectures_map_is_there_and_every_folder_is_on_it() -> None:
    [drawn] = [block for block in fenced("ARCHITECTURE.md", "") if "  cli.py" in block and block.startswith("advsim/")]
    folder, seen, missing = "", set(), []
    for line in drawn.splitlines()[1:]:
        if start := re.match(r"( {2,4})([a-z_]+)/", line):
            inner = start[1] == "    "
            folder = f"{folder.split('/')[0]}/{start[2]}" if inner else start[2]
            seen.add(folder)
        elif re.match(r"  [a-z_]+\.py", line):
            folder = ""
        missing += [
            f"{folder}/{m}" for m in re.findall(r"[\w]+\.py", line) if not (ROOT / "advsim" / folder / m).exists()
        ]
    assert missing == []
    assert seen >= {path.parent.name for path in (ROOT / "advsim").glob("*/__init__.py")}


def test_architecture_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = "\n".join(layer.replace("advsim.", "") for layer in layers)
    assert f"{drawn}\n" in fenced("ARCHITECTURE.md", "")


def test_ci_runs_the_checks_and_tests_with_a_time_limit() -> None:
    [workflow] = documents(ROOT / ".github" / "workflows" / "ci.yml")
    [job] = workflow["jobs"].values()
    assert job["timeout-minutes"] > 0
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert [step["with"]["python-version"] for step in job["steps"] if "python" in step.get("uses", "")] == ["3.11"]


def test_hooks_are_local_and_run_what_make_check_runs() -> None:
    [hooks] = documents(ROOT / ".pre-commit-config.yaml")
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    entries = [hook["entry"] for hook in hooks["repos"][0]["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    checks = re.findall(r"^\t\$\(BIN\)/([\w-]+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    called = {entry.removeprefix(".venv/bin/").split()[0] for entry in entries}
    assert called == {"ruff", "mypy", "lint-imports"} <= {*checks}


def test_citation_has_the_version_and_licence_of_the_package() -> None:
    [citation] = documents(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert "arXiv:2512.20773" in str(citation["references"])


def test_no_shipped_text_names_a_path_of_one_machine() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in shipped_texts()
        for match in [MACHINE_PATH.search(path.read_text(encoding="utf-8"))]
        if match
    ]
    assert named == []


@pytest.mark.parametrize("text", ["see {0}", "'{0}/main'", "cd {0}/main", "({0}/.cache)"])
def test_a_path_of_one_machine_would_be_found(text: str) -> None:
    assert all(MACHINE_PATH.search(text.format(f"/{folder}")) for folder in ("root", "work"))
