"""Check, build and package the extension, install it by hand, and run its tests in a real VS Code.

`.venv/bin/python -m tests.vscode` does all of it; arguments are the test files to run, such as `deciding`. With
`--pictures` the pictures of the extension's page are made anew, if all tests pass. A file that fails is run once more,
and that is told: a browser on a busy machine loses a click now and then.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from lsp_server.models.store import ModelError
from tests.vscode.environment import Environment, NotInstalled, chromium, environment
from tests.vscode.strings import STRINGS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dist" / "oci-companion.vsix"
OLDER_VERSION = "0.0.1"
OLDER_PACKAGE = ROOT / "dist" / f"oci-companion-{OLDER_VERSION}.vsix"
"""The same under a lower version: what an update starts from."""
ARTEFACTS = ROOT / "dist" / "e2e"
"""Screenshots of the last run, and the installed extension: not below `tests`, where pytest would find its example."""
LARGEST_PACKAGE = 1_000_000
"""Bytes."""
PICTURES = ("proposal", "setting-up", "waiting", "watching")
"""Those of the tests' screenshots that the extension's page shows."""
SHIPPED = {
    "[Content_Types].xml",
    "dist/extension.js",
    "extension.vsixmanifest",
    "package.json",
    "package.nls.json",
    "pyproject.toml",
    "readme.md",
}
"""What is in the package besides the server, icons and the walkthrough's texts."""


def main(arguments: list[str]) -> int:
    """Do every step; return the exit status of the tests."""
    try:
        made, browser = environment(), chromium()
        build(made)
        shutil.rmtree(ARTEFACTS, ignore_errors=True)
        ARTEFACTS.mkdir()
        extensions = ARTEFACTS / "extensions"
        install(made, extensions)
    except (NotInstalled, ModelError) as error:
        print(f"tests.vscode: {error}", file=sys.stderr)
        return 2
    names = [name for name in arguments if name != "--pictures"]
    files = [Path(__file__).with_name(f"{name}.test.ts") for name in names]
    files = files or sorted(Path(__file__).parent.glob("*.test.ts"))
    given = {
        "OCI_E2E_CODE_SERVER": made.code_server,
        "OCI_E2E_CHROMIUM": browser,
        "OCI_E2E_EXTENSIONS": extensions,
        "OCI_E2E_PACKAGE": PACKAGE,
        "OCI_E2E_OLDER_PACKAGE": OLDER_PACKAGE,
        "OCI_E2E_PYTHON": sys.executable,
        "OCI_E2E_ARTEFACTS": ARTEFACTS,
    }
    environ = {**os.environ, **{name: str(value) for name, value in given.items()}}
    # One at a time: two browsers on a small machine would slow each other down until something times out.
    failed = [file for file in files if not passes(made, file, environ)]
    again = [file for file in failed if not passes(made, file, environ)]
    told = f"{len(files) - len(failed)} files of browser tests passed"
    told += f", {len(failed) - len(again)} at the second try" if failed else ""
    print(f"{told}, {len(again)} failed: {', '.join(file.name for file in again)}" if again else f"{told}.")
    if "--pictures" in arguments and not failed:
        for picture in PICTURES:
            shutil.copy(ARTEFACTS / f"{picture}.png", ROOT / "extension" / "images")
    return 1 if again else 0


def passes(made: Environment, file: Path, environ: dict[str, str]) -> bool:
    """Run one test file; return whether all of its tests pass."""
    flags = ["--test", "--test-force-exit", "--test-reporter=spec"]
    command = [str(made.node), *flags, str(file.relative_to(ROOT))]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode == 0


def build(made: Environment) -> None:
    """Lint, type-check, bundle and package the extension.

    Raises:
        NotInstalled: one of the steps fails.
    """
    lock = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    marker = ROOT / "node_modules" / ".installed"
    if not marker.is_file() or marker.read_text(encoding="utf-8") != lock:
        made.npm(ROOT, "ci", "--ignore-scripts")
        marker.write_text(lock, encoding="utf-8")
    PACKAGE.parent.mkdir(exist_ok=True)
    check_strings(made)
    for script in ("lint", "check", "bundle:host", "package"):
        made.npm(ROOT, "run", "--silent", script)
    check_package()
    older = ["--no-git-tag-version", "--no-update-package-json", "--out", str(OLDER_PACKAGE)]
    made.npm(ROOT, "run", "--silent", "package", "--", OLDER_VERSION, *older)


def check_strings(made: Environment) -> None:
    """See that the strings that translators are given are those of the code, of the extension's and of the server's.

    Raises:
        NotInstalled: they were not; now they are.
    """
    before = STRINGS.read_bytes()
    made.npm(ROOT, "run", "--silent", "strings")
    if STRINGS.read_bytes() != before:
        raise NotInstalled(f"{STRINGS.relative_to(ROOT)} was not up to date, and is made anew: commit it")


def check_package() -> None:
    """See that the package has what it needs, and nothing that only happens to lie here.

    Raises:
        NotInstalled: it has not.
    """
    with zipfile.ZipFile(PACKAGE) as package:
        names = {name.removeprefix("extension/") for name in package.namelist()}
    code = {f for top in ("lsp_server", "runner", "examples") for f in names if f.startswith(f"{top}/")}
    here = {
        p.relative_to(ROOT).as_posix() for top in ("lsp_server", "runner") for p in (ROOT / top).rglob("*.py")
    }
    foreign = {
        name
        for name in names - code - SHIPPED
        if not name.startswith(("extension/icons/", "extension/l10n/", "extension/walkthrough/"))
    }
    unfit = {name for name in code if not name.endswith((".py", ".toml"))}
    for what, found in (("lacks", (here | SHIPPED) - names), ("should not have", foreign | unfit)):
        if found:
            raise NotInstalled(f"{PACKAGE.name} {what} {', '.join(sorted(found))}: see .vscodeignore")
    if (size := PACKAGE.stat().st_size) > LARGEST_PACKAGE:
        raise NotInstalled(f"{PACKAGE.name} has {size} bytes, more than {LARGEST_PACKAGE}")


def install(made: Environment, extensions: Path) -> None:
    """Install the package as a user does by hand.

    Raises:
        NotInstalled: VS Code does not take it.
    """
    data = ARTEFACTS / "install"
    data.mkdir()
    (data / "config.yaml").write_text("auth: none\n", encoding="utf-8")
    command = [str(made.node), str(made.code_server), "--config", str(data / "config.yaml")]
    command += ["--user-data-dir", str(data), "--extensions-dir", str(extensions)]
    command += ["--install-extension", str(PACKAGE), "--force"]
    environ = {**os.environ, "EXTENSIONS_GALLERY": "{}"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{PACKAGE} cannot be installed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
