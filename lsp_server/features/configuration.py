"""Settings from the client: initialization options, `workspace/configuration`, `didChangeConfiguration`.

They come from the client only, never from a file of the workspace: what weakens safety is the user's to decide, and
the client knows whom it trusts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server.features import l10n, review
from lsp_server.features.session import CompanionServer
from lsp_server.settings import parse

SECTION = "oci"
TRANSLATIONS = "l10n"
"""Name of the initialization option with the client's translations of the server's texts, by English text."""
ANSWER_SECONDS = 5.0
"""How long a command waits for the client to say what the settings are."""


def initialize(server: CompanionServer, params: types.InitializeParams) -> None:
    """Take trust, who shows proposals, translations, and first settings from the initialization options."""
    options = _plain(params.initialization_options)
    if isinstance(options, Mapping):
        server.trusted = options.get("trusted") is not False
        server.reviews = options.get("proposals") is True
        translations = options.get(TRANSLATIONS)
        given = translations if isinstance(translations, Mapping) else {}
        l10n.use({key: value for key, value in given.items() if isinstance(value, str)})
        # Texts are no settings, although a dot in one would make it look like a group of them.
        rest = {name: value for name, value in options.items() if name != TRANSLATIONS}
        section = options.get(SECTION, rest)
        use(server, section if isinstance(section, Mapping) else None)


async def initialized(server: CompanionServer, _params: types.InitializedParams) -> None:
    """Report wrong initial settings, ask for the current ones, and to be told of changes; begin to watch."""
    from lsp_server.features import outside  # which needs this module itself

    tell(server)
    request(server)
    outside.begin(server)
    if server.reviews:
        await review.restore(server)
    workspace = server.client_capabilities.workspace
    if (
        workspace
        and workspace.did_change_configuration
        and workspace.did_change_configuration.dynamic_registration
    ):
        registration = types.Registration(
            id="oci-configuration",
            method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
            register_options=types.DidChangeConfigurationRegistrationOptions(section=SECTION),
        )
        try:
            await server.client_register_capability_async(types.RegistrationParams([registration]))
        except JsonRpcException as error:
            server.log(f"The client does not tell of changed settings: {error}")


def changed(server: CompanionServer, params: types.DidChangeConfigurationParams) -> None:
    """Take new settings, from the notification itself or by asking."""
    pushed = _plain(params.settings)
    section = pushed.get(SECTION) if isinstance(pushed, Mapping) else None
    if isinstance(section, Mapping):
        use(server, section)
        tell(server)
    elif _can_be_asked(server):
        request(server)


def request(server: CompanionServer) -> None:
    """Ask the client for its settings, in the background."""
    if _can_be_asked(server):
        server.configured = asyncio.ensure_future(_pull(server))


async def settled(server: CompanionServer) -> None:
    """Wait until the client has said what the settings are, or seems not to."""
    if server.configured is not None:
        await asyncio.wait([server.configured], timeout=ANSWER_SECONDS)


def use(server: CompanionServer, section: Mapping[str, Any] | None) -> None:
    """Make a section the settings in force."""
    from lsp_server.features import on_save, outside  # which need this module itself

    server.settings, server.complaints = parse(section)
    on_save.settings_changed(server)
    outside.follow(server)
    for package in ("lsp_server", "runner"):
        logging.getLogger(package).setLevel(server.settings.logLevel.upper())


def tell(server: CompanionServer) -> None:
    """Show each complaint about a setting once."""
    for complaint in server.complaints:
        if complaint not in server.told:
            server.told.add(complaint)
            server.say(complaint, types.MessageType.Warning)


async def _pull(server: CompanionServer) -> None:
    items = [types.ConfigurationItem(section=SECTION)]
    try:
        answer = await server.workspace_configuration_async(types.ConfigurationParams(items))
    except JsonRpcException as error:
        server.log(f"The client does not say what the settings are: {error}")
        return
    section = _plain(answer[0]) if answer else None
    if isinstance(section, Mapping):
        use(server, section)
        tell(server)


def _can_be_asked(server: CompanionServer) -> bool:
    workspace = server.client_capabilities.workspace
    return bool(workspace and workspace.configuration)


def _plain(value: Any) -> Any:
    """The JSON value of what pygls made of it."""
    return vars(value) if hasattr(value, "__dict__") else value
