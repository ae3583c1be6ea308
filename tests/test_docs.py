"""What the documentation says is so: nodes, menus, commands, files, numbers; one version everywhere."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from demo.host.fetch import ROOT
from demo.workflows.file_format import HOST_VERSION
from docs import model_table

DOCS = ROOT / "docs"
WORKFLOWS = ROOT / ".github" / "workflows"
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
HELP = sorted((ROOT / "web" / "docs").rglob("*.md"))
NOTED = sorted((ROOT / "workflows").glob("*.json"))
STEMS = {path.stem for path in NOTED}
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")


def setting(name: str) -> str:
    """A text of pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (value,) = re.findall(rf'^{name} = "(.*)"$', text, re.MULTILINE)
    return value


def heading_anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in heading_anchors(file), target


def test_the_tables_of_models_are_those_of_the_official_templates():
    for path, form in model_table.PAGES.items():
        page = path.read_text(encoding="utf-8")
        assert model_table.filled(page, *form) == page, "python -m docs.model_table"


def test_readme_is_short():
    assert len(README.splitlines()) <= 80


def test_most_of_what_is_run_above_8_steps_has_a_row():
    assert model_table.share() >= 0.8
    assert [row.model for row in model_table.ROWS if not model_table.of(row)] == []
    computed = re.findall(r"\d\.\d \((\d+)\)", model_table.table("en"))
    assert len(computed) >= len(model_table.ROWS)
    # Of 8 steps fewer are worth it.
    assert [each for each in map(int, computed) if each < 8] == [6]


def test_the_index_names_every_page():
    index = DOCS / "README.md"
    linked = set(re.findall(r"\]\(([^)#\s]+)", index.read_text(encoding="utf-8")))
    pages = {p.name for p in DOCS.glob("*.md")} - {index.name}
    assert pages <= linked


# --- coming from another cache


def migration_tables() -> dict[str, list[tuple[list[str], list[str]]]]:
    """Per section, what the columns `there` and `here` name, row by row."""
    text = (DOCS / "migration.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if "| there | here |" not in body:
            continue
        rows = [line.split("|")[1:3] for line in body.splitlines() if line.startswith("| `")]
        found[title] = [(CODE.findall(there), CODE.findall(here)) for there, here in rows]
    return found


def pack_nodes(object_info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """This pack's nodes by the name that users see."""
    module = "custom_nodes.ComfyUI-ScalingCache"
    ours = [info for info in object_info.values() if info["python_module"] == module]
    return {info["display_name"]: info for info in ours}


def inputs_of(info: dict[str, Any]) -> dict[str, Any]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


@pytest.mark.host
@pytest.mark.parametrize("section", sorted(migration_tables()))
def test_migration_names_inputs_that_exist(section: str, object_info: dict[str, Any]):
    text = (DOCS / "migration.md").read_text(encoding="utf-8")
    body = text.split(f"## {section}\n")[1].split("\n## ")[0]
    used = re.search(r"Use \*\*(.+?)\*\*", body)
    assert used is not None
    known = inputs_of(pack_nodes(object_info)[used[1]])
    rows = migration_tables()[section]
    assert len(rows) >= 3
    assert {name for _, here in rows for name in here} <= set(known)
    # Values in italics of a choice that is named in the same row or sentence.
    choices = {o for spec in known.values() if isinstance(spec[0], list) for o in spec[0]}
    choices |= {o for spec in known.values() for o in (spec[1:] and spec[1].get("options")) or ()}
    listed = re.findall(r"(?<!\*)\*([a-z][\w.]*|EasyCache|LazyCache|model device)\*(?!\*)", body)
    assert listed or section == "First Block Cache"
    for value in listed:
        assert value in choices, value


@pytest.mark.host
def test_migration_names_every_input_of_the_hosts_own_caches(object_info: dict[str, Any]):
    named = {name for there, _ in migration_tables()["EasyCache and LazyCache"] for name in there}
    for node in ("EasyCache", "LazyCache"):
        assert named == set(inputs_of(object_info[node])) - {"model"}


@pytest.mark.host
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nodes_and_methods_in_bold_exist(page: Path, object_info: dict[str, Any]):
    from scaling_cache.cache_core.methods.combinations import METHOD_NAMES

    names = set(pack_nodes(object_info))
    # Rows of the benchmark carry names of their own.
    rows = {"Scaling Cache, learning", "Scaling Cache, calibrated"}
    blueprints = {path.stem for path in (ROOT / "subgraphs").glob("*.json")}
    known = names | {name.split(" (")[0] for name in names} | set(METHOD_NAMES) | rows | blueprints
    text = re.sub(r"\[(.+?)\]\(.+?\)", r"\1", page.read_text(encoding="utf-8"))
    bold = re.findall(r"\*\*([^*\n]*Cache[^*\n]*)\*\*", text)
    assert set(bold) <= known


@pytest.mark.host
def test_ids_have_the_prefix_and_are_no_ones_else(object_info: dict[str, Any]):
    module = "custom_nodes.ComfyUI-ScalingCache"
    ours = {name for name, info in object_info.items() if info["python_module"] == module}
    assert all(name.startswith("Scaling") for name in ours)
    others = {name for name in object_info if name not in ours}
    assert not [name for name in others if name.startswith("Scaling") and "Demo" not in name]


# --- what texts promise: menus, templates, commands, files, numbers


def texts() -> dict[str, str]:
    """What a user reads: pages, help and the notes of templates, by name."""
    found = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in (*PAGES, *HELP)}
    for path in NOTED:
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        notes = [n["widgets_values"][0] for n in nodes if n["type"] == "MarkdownNote"]
        found[path.stem] = "\n".join(notes)
    return found


def named(pattern: str) -> dict[str, set[str]]:
    """What matches in each text that has any, as on one line."""
    each = {name: re.findall(pattern, " ".join(text.split())) for name, text in texts().items()}
    return {name: set(found) for name, found in each.items() if found}


def test_menus_and_buttons_exist():
    """In the frontend, in what this pack adds to it, or on GitHub."""
    import comfyui_frontend_package

    static = Path(comfyui_frontend_package.__file__).parent / "static" / "assets"
    code = [*static.glob("*.js"), *(ROOT / "web").rglob("*.js")]
    known = "".join(path.read_text(encoding="utf-8", errors="ignore") for path in code)
    github = {"Issues", "New issue", "Security", "Report a vulnerability"}
    names = {"ComfyUI-ScalingCache", *STEMS, "Scaling Cache"}
    paths = named(r"\*([A-Z][^*|]{2,40} > [^*|]+)\*|(?<!\w)File > Export \(API\)")
    menus = named(r"\*(Show Advanced|Import coefficient file|Export coefficient file)\*")
    assert sum(map(len, (*paths.values(), *menus.values()))) >= 6
    for page, found in (*paths.items(), *menus.items()):
        for part in {part for path in found for part in path.split(" > ")} - github - names:
            assert re.search(rf"[\"'`>]{re.escape(part)}[\"'`<]", known), (page, part)
    # The help of a node opens by the button i.
    assert [page for page, text in texts().items() if "(?)" in text or "*?*" in text] == []


def test_templates_that_are_named_exist():
    """By name, or without what comes before the dash."""
    short = {stem.partition(" - ")[2] for stem in STEMS}
    whole = named(r"\*((?:Scaling Cache|Scaling Cache tool|Single method) - [^*]+)\*")
    brief = named(r"template \*([^*]+)\*")
    assert len(whole) >= 3
    assert len(brief) >= 3
    assert {n for found in whole.values() for n in found} <= STEMS
    assert {n for found in brief.values() for n in found} <= STEMS | short


def test_commands_that_are_named_exist():
    from cli.__main__ import COMMANDS

    modules = {n.rstrip(".") for found in named(r"python -m ([\w.]+)").values() for n in found}
    files = [ROOT / name.replace(".", "/") for name in modules]
    assert len(files) >= 10
    assert [
        f for f in files if not (f.with_suffix(".py").exists() or (f / "__main__.py").exists())
    ] == []
    targets = {n for found in named(r"`make ([a-z-]+)").values() for n in found}
    assert targets >= {"demo", "open"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {t for t in targets if f"\n{t}: " not in makefile} == set()
    commands = {n for found in named(r"(?:ScalingCache/|`)cli (\w+)").values() for n in found}
    assert commands == set(COMMANDS)


def test_files_that_are_named_exist():
    """From the root, or from the folder of the core."""
    paths = {n for found in named(r"`([\w/]+/[\w.-]+\.\w+)`").values() for n in found}
    ours = {p for p in paths if (ROOT / p.split("/")[0]).is_dir()}
    assert len(ours) >= 20
    assert [
        p for p in ours if not ((ROOT / p).exists() or (ROOT / "cache_core" / p).exists())
    ] == []


def numbers() -> list[tuple[str, str, object]]:
    """Pages, what they say with a number in brackets, and the number that the code has."""
    from scaling_cache.cache_core.calibration.files import LARGEST_FILE
    from scaling_cache.cache_core.decide.policies import ENOUGH, ENOUGH_MORE, ENOUGH_STRONG
    from scaling_cache.cache_core.methods import ScalingSpans
    from scaling_cache.cache_core.methods.base import FEWEST_STEPS
    from scaling_cache.cache_core.run.report import _MOST_PROMPTS
    from scaling_cache.nodes.host.routes import Limits

    from cli.workflow import MORE_PROMPTS

    words = {2: "two", 3: "three"}
    oldest = setting("requires-comfyui").removeprefix(">=")
    any_page = "README docs web SECURITY"
    return [
        (any_page, r"(?:than|with fewer than|under) (\d+) steps", FEWEST_STEPS),
        ("docs/troubleshooting", r"with fewer than (\d+) every step", ScalingSpans.fewest),
        (any_page, r"fewer than (\d+) computed steps", ENOUGH),
        (any_page, r"(\d+) (?:with|for) multistep", ENOUGH_MORE),
        (any_page, r"(\d+) above cfg 5", ENOUGH_STRONG),
        (any_page, r"(?:ComfyUI|ComfyUI \() ?\(?(\d+\.\d+\.\d+) or newer", oldest),
        ("README docs", r"ComfyUI (\d+\.\d+\.\d+) (?:and Python|into)", HOST_VERSION),
        ("docs SECURITY", r"(\d+) MiB(?:, read without|, two minutes| \|)", LARGEST_FILE // 2**20),
        ("docs SECURITY", r"(?:within )?(two) minutes", words[int(Limits().seconds / 60)]),
        ("docs SECURITY", r"some (\d+) files", Limits().files),
        ("docs/api.md", r"the last (\d+) prompts", _MOST_PROMPTS),
        ("docs/calibration.md", r"on each line, (\w+) at most", words[MORE_PROMPTS]),
    ]


@pytest.mark.parametrize("number", range(12))
def test_numbers_are_those_of_the_code(number: int, comfy: Path):
    pages, pattern, value = numbers()[number]
    found = {n: v for n, v in named(pattern).items() if n.startswith(tuple(pages.split()))}
    assert found
    assert {each for values in found.values() for each in values} == {str(value)}, found


@pytest.mark.host
def test_readme_names_defaults_and_modes(object_info: dict[str, Any]):
    known = inputs_of(object_info["ScalingCache"])
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    assert len(rows) == 3
    for names, defaults, says in rows:
        inputs = CODE.findall(names)
        values = [str(known[name][1]["default"]).removesuffix(".0") for name in inputs]
        assert [v.removesuffix(".0") for v in defaults.split(", ")] == values
        if inputs == ["mode"]:
            options = set(known["mode"][1].get("options") or known["mode"][0])
            assert set(re.findall(r"\*([a-z][a-z -]+)\*", says)) == options - {defaults}


@pytest.mark.host
def test_the_page_for_programs_names_all_inputs_that_may_be_left_out(object_info: dict[str, Any]):
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"advanced inputs \((.+?)\) may be left", page)
    (example,) = re.findall(r"```json\n(\"cache\": .+?)```", page, re.DOTALL)
    groups = object_info["ScalingCache"]["input"]
    assert CODE.findall(listed) == list(groups["optional"])
    assert json.loads("{" + example + "}")["cache"]["inputs"].keys() == groups["required"].keys()


# --- publishing


def test_one_version():
    from scaling_cache.cache_core import VERSION

    assert setting("version") == VERSION
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (newest, *_) = re.findall(r"^## \[(.+?)\] - (.+)$", changelog, re.MULTILINE)
    assert newest[0] == VERSION
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", newest[1])


def test_templates_carry_the_version():
    for path in sorted((ROOT / "workflows").glob("*.json")):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        own = [n["properties"]["ver"] for n in nodes if n["type"].startswith("Scaling")]
        assert set(own) == {setting("version")}, path.stem


@pytest.mark.host
def test_the_host_reads_the_registry_metadata(comfy: Path):
    from comfy_config.config_parser import extract_node_configuration

    found = extract_node_configuration(str(ROOT))
    assert found is not None
    project, registry = found.project, found.tool_comfy
    assert re.fullmatch(r"[a-z][a-z0-9]+([-_.][a-z0-9]+)*", project.name)
    assert project.license.file == "LICENSE"
    assert project.supported_os == ["OS Independent"]
    # One that the host does not know empties the list.
    assert project.supported_accelerators == [
        "GPU :: NVIDIA CUDA",
        "GPU :: AMD ROCm",
        "GPU :: Apple Metal",
    ]
    assert project.supported_comfyui_version == ">=0.3.60"
    assert registry.display_name == "Scaling Cache"
    assert project.dependencies == []


def test_the_address_stands_in_one_place():
    """What names the pack's account is the repository of pyproject.toml, or nothing until it has one."""
    repository = setting("Repository").removeprefix("https://github.com/")
    assert bool(repository) == bool(setting("PublisherId")) == ("not published" not in README)
    address = re.compile(
        r"(?:github\.com|githubusercontent\.com)[/:]([\w.-]+/[\w.-]*scaling[-_]?cache\b)", re.I
    )
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        text = (ROOT / name).read_bytes().decode(errors="ignore")
        assert set(address.findall(text)) <= {repository}, name


@pytest.mark.parametrize(("field", "shape"), [("Icon", (400, 400)), ("Banner", (1680, 720))])
def test_pictures_for_the_registry(field: str, shape: tuple[int, int]):
    name = f"docs/images/{field.lower()}.png"
    repository = setting("Repository").removeprefix("https://github.com/")
    address = f"https://raw.githubusercontent.com/{repository}/main/{name}"
    assert setting(field) == (address if repository else "")
    with Image.open(ROOT / name) as picture:
        assert picture.size == shape
    assert (ROOT / name).stat().st_size < 200_000


def steps() -> list[dict[str, Any]]:
    """Of the release."""
    text = (WORKFLOWS / "publish.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["jobs"].values()
    return job["steps"]


def published() -> dict[str, Any]:
    """The last one."""
    return steps()[-1]


def test_the_release_workflow_holds_no_secret():
    step = published()
    assert step["env"] == {"TOKEN": "${{ secrets.REGISTRY_ACCESS_TOKEN }}"}
    assert 'publish --token "$TOKEN"' in step["run"]


def test_the_registry_gets_what_the_changelog_says_of_this_version(tmp_path: Path):
    (line,) = re.findall(r"^awk .*", published()["run"], re.MULTILINE)
    subprocess.run(["bash", "-c", line], cwd=ROOT, env={**os.environ, "RUNNER_TEMP": str(tmp_path)})
    text = (tmp_path / "changelog.md").read_text(encoding="utf-8")
    assert re.findall("^## .*", text, re.MULTILINE) == [text.splitlines()[0]]
    assert text.startswith(f"## [{setting('version')}]")
    assert text in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_links_in_the_package_lead_to_the_repository(tmp_path: Path):
    """After the step before the last one of the release: to what is packed, or to a page of this tag."""
    pages = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
    for page in pages:
        shutil.copy(page, tmp_path)
    where = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b"}
    where |= {"GITHUB_REF_NAME": "v1.2.3"}
    run = steps()[-2]["run"]
    subprocess.run(["bash", "-ec", run], cwd=tmp_path, env={**os.environ, **where}, check=True)
    left_out = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    pictures = []
    for page in pages:
        text = (tmp_path / page.name).read_text(encoding="utf-8")
        for picture, target in re.findall(r"(!?)\[[^]]*\]\(([^)\s]+)\)", text):
            if target.startswith("https://") and "/a/b/" not in target:
                continue
            home = f"https://github.com/a/b/{'raw' if picture else 'blob'}/v1.2.3/"
            path = target.removeprefix(home).partition("#")[0]
            assert (ROOT / path).exists(), target
            top = Path(path).parts[0]
            assert target.startswith(home) or not {f"/{top}/", f"/{top}"} & {*left_out}, target
            pictures += [path] if picture else []
    assert pictures == ["docs/images/demo.webp"]


@pytest.mark.parametrize("path", sorted(FORMS.glob("*.yml")), ids=lambda path: path.stem)
def test_forms_for_issues_are_complete(path: Path):
    """What GitHub asks of one; it shows none that lacks any of it."""
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form.keys() >= {"name", "description", "body"}
    asked = [part for part in form["body"] if part["type"] in ("input", "textarea")]
    assert asked
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)
    assert all("value" in part["attributes"] for part in form["body"] if part not in asked)


def test_tests_that_a_page_calls_upon_exist():
    page = (ROOT / "docs" / "works-with.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\btest_\w+", page))
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 12
    assert not {name for name in named if f"def {name}(" not in code}


# --- troubleshooting


def said_by_the_pack() -> str:
    """Every text in the code of the pack; what is put in at run time separates its parts."""
    texts = []
    for folder in ("cache_core", "nodes"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            texts += [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    return "\n".join(text for text in texts if isinstance(text, str))


def quoted_messages() -> list[str]:
    """First column of the tables whose head is `the node says`."""
    found = []
    for table in (DOCS / "troubleshooting.md").read_text(encoding="utf-8").split("\n\n"):
        lines = table.splitlines()
        if lines and lines[0].startswith("| the node says"):
            found += [m for line in lines[2:] for m in CODE.findall(line.split("|")[1])]
    return found


@pytest.mark.parametrize("message", quoted_messages())
def test_troubleshooting_quotes_what_the_node_says(message: str):
    # Numbers, names of samplers and what is left out differ from run to run.
    parts = re.split(
        r"\.\.\.|\(\.\.\.\)|\d[\d.]*x?|\w+_\w+(?= is not known| adds)|OutOfMemoryError|Not cached\. "
        r"|SmoothCache (?=needs)"
        r"|: (?=the model')",
        message,
    )
    longest = max((part.strip(" :.,") for part in parts), key=len)
    assert len(longest) >= 8
    assert longest in said_by_the_pack()


def test_troubleshooting_quotes_enough():
    assert len(quoted_messages()) >= 15
