"""What a user gets from the registry: the archive as comfy-cli builds it, and the host with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.host.fetch import ROOT, host_path
from demo.host.server import PACK_PARTS, Server, serve

# The registry's name of the pack; comfy-cli and ComfyUI-Manager install it in a folder called so.
NAME = "scalingcache"
# Beside what the host loads.
FURTHER = {
    *("cli", "CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"),
    *("pyproject.toml", "requirements.txt"),
}
# The frontend's languages; for those without a page of their own it asks for another one.
LOCALES = ("ar", "en", "es", "fa", "fr", "ja", "ko", "pt-BR", "ru", "tr", "zh", "zh-TW")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def tracked(*parts: str) -> set[str]:
    command = ["git", "ls-files", *parts]
    return set(subprocess.check_output(command, cwd=ROOT, text=True).splitlines())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """As `comfy node publish` packs it, from what git tracks."""
    path = tmp_path_factory.mktemp("archive") / "node.zip"
    code = "import sys; from comfy_cli.file_utils import zip_files; zip_files(sys.argv[1])"
    python(code, str(path))
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_archive_holds_what_is_loaded_and_little_else(archive: zipfile.ZipFile):
    assert set(archive.namelist()) == tracked(*PACK_PARTS, *FURTHER)


def test_each_line_that_leaves_something_out_means_one_place():
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if not line.startswith("#")]
    assert [name for name in names if not name.startswith("/")] == []
    assert [name for name in names if not (ROOT / name[1:]).exists()] == []


def test_the_archive_is_small(archive: zipfile.ZipFile):
    assert sum(item.compress_size for item in archive.infolist()) < 2_000_000
    scripts = [item for item in archive.infolist() if item.filename.endswith(".js")]
    assert scripts
    assert sum(item.file_size for item in scripts) < 40_000


def test_comfy_cli_has_nothing_to_say():
    arguments = ("--skip-prompt", "--no-enable-telemetry", "node", "validate")
    said = python("from comfy_cli.cmdline import main; main()", *arguments)
    assert said.stdout.splitlines() == [
        "Validating node configuration...",
        "Running security checks...",
    ]
    assert said.stderr.strip() == "✓ All validation checks passed successfully"


@pytest.fixture(scope="module")
def installed(archive: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack's folder of a user."""
    folder = tmp_path_factory.mktemp("host") / "custom_nodes" / NAME
    archive.extractall(folder)
    return folder


def test_all_that_is_imported_of_the_host_is_there(installed: Path, tmp_path: Path):
    """comfy-import-guard, which reads the host out of a git repository."""
    source = tmp_path / "ComfyUI"
    for name in ("comfy", "comfy_api", "comfy_execution"):
        shutil.copytree(host_path() / name, source / name)
    for line in ("init -q", "add .", "-c user.name=x -c user.email=x commit -qm x"):
        subprocess.run(["git", *line.split()], cwd=source, check=True)
    places = ("--comfy-dir", str(installed.parents[1]), "--cache-dir", str(tmp_path))
    python(
        "import sys; from comfy_import_guard.cli import main; sys.exit(main())",
        *("check", "--offline", "--no-update", "--strict", "--target", "HEAD", *places),
    )


@pytest.fixture(scope="module")
def server(installed: Path) -> Iterator[Server]:
    packs = {"scalingcache-demo": ROOT / "demo" / "nodes"}
    with serve(installed.parents[1], packs, threads=1, clone=False) as running:
        yield running


def get(server: Server, path: str) -> requests.Response:
    return requests.get(f"{server.url}{path}", timeout=30)


@pytest.mark.host
def test_every_help_page_in_every_language(server: Server):
    module = f"custom_nodes.{NAME}"
    info = get(server, "/object_info").json()
    nodes = {name for name, node in info.items() if node["python_module"] == module}
    pages = ROOT / "web" / "docs"
    documented = {page.stem for page in pages.glob("*.md")}
    # That for Raylight loads only beside Raylight.
    assert documented - nodes == {"ScalingCacheRaylight"}
    assert nodes < documented
    for node in documented:
        for locale in LOCALES:
            # As the frontend does.
            answer = get(server, f"/extensions/{NAME}/docs/{node}/{locale}.md")
            if not answer.ok:
                answer = get(server, f"/extensions/{NAME}/docs/{node}.md")
            own = pages / node / f"{locale}.md"
            expected = own if own.exists() else pages / node / "en.md"
            assert answer.content == expected.read_bytes(), (node, locale)


@pytest.mark.host
def test_every_template_and_its_picture(server: Server):
    files = sorted((ROOT / "workflows").glob("*.*"))
    listed = get(server, "/workflow_templates").json()[NAME]
    assert set(listed) == {file.stem for file in files}
    for file in files:
        answer = get(server, f"/api/workflow_templates/{NAME}/{file.name}")
        assert answer.content == file.read_bytes(), file.name


@pytest.mark.host
def test_every_script_and_translation(server: Server):
    listed = {path for path in get(server, "/extensions").json() if f"/{NAME}/" in path}
    scripts = {str(file.relative_to(ROOT / "web")) for file in (ROOT / "web").rglob("*.js")}
    assert listed == {f"/extensions/{NAME}/{script}" for script in scripts}
    for file in (ROOT / "web" / "live").iterdir():
        assert get(server, f"/extensions/{NAME}/live/{file.name}").content == file.read_bytes()
    translations = get(server, "/i18n").json()
    for file in (ROOT / "locales").rglob("nodeDefs.json"):
        texts = json.loads(file.read_text(encoding="utf-8"))
        assert translations[file.parent.name]["nodeDefs"].items() >= texts.items()


@pytest.mark.host
def test_its_own_command_runs_a_workflow(server: Server, installed: Path, tmp_path: Path):
    workflow: dict[str, Any] = json.loads(
        (ROOT / "demo" / "workflows" / "api" / "demo_video_on.json").read_text(encoding="utf-8")
    )
    small = {
        "EmptyHunyuanLatentVideo": {"length": 1, "width": 64, "height": 64},
        "KSampler": {"steps": 10},
    }
    for node in workflow.values():
        node["inputs"] |= small.get(node["class_type"], {})
    (tmp_path / "workflow.json").write_text(json.dumps(workflow), encoding="utf-8")
    command = [sys.executable, "-m", "cli.generate", str(tmp_path / "workflow.json"), "--report"]
    command += ["--server", server.url, "--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=installed, check=True)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    (run,) = report["runs"]
    assert 0 < run["computed"] < run["evaluations"]
