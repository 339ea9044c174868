"""Files that ship beside the code: cluster manifests, configurations and documents."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from advsim.chatbots.load import load_chatbots
from advsim.config import SweepConfig, load_config, load_section
from advsim.lab.config import LabConfig

ROOT = Path(__file__).resolve().parents[2]
CLUSTER_FILES = sorted((ROOT / "cluster").glob("*.yaml"))
LAB_CONFIG = ROOT / "configs" / "lab.yaml"  # the lab has a schema of its own
CHATBOTS = sorted((ROOT / "configs" / "chatbots").glob("*.yaml"))
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
CONFIGS = sorted(set((ROOT / "configs").rglob("*.yaml")) - {LAB_CONFIG, *CHATBOTS, *SWEEPS})
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "EXPERIMENTS.md", "cluster/README.md")
TEXT_SUFFIXES = {".cfg", ".css", ".html", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ""}
SKIPPED_FOLDERS = {"build", "dist", "runs"}
MACHINE_PATH = re.compile(r"(?<![\w.~$}-])/(?:root|work)(?=/|\s|['\"`)]|$)", re.MULTILINE)


def shipped_texts() -> list[Path]:
    found = []
    for top in sorted(ROOT.iterdir()):
        if top.name.startswith(".") or top.name in SKIPPED_FOLDERS or top.name.endswith(".egg-info"):
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
    assert all((ROOT / name).exists() for name in sweep.chatbots)


def test_shipped_lab_config_is_valid_by_its_own_schema() -> None:
    lab = load_section(LabConfig, LAB_CONFIG)
    assert lab.num_chatbots >= 20
    assert len([simulator for simulator in lab.simulators.values() if not simulator.is_right]) >= 5


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


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_to_files_of_the_project_lead_somewhere(name: str) -> None:
    document = ROOT / name
    targets = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


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
