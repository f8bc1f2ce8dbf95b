"""The VS Code extension in a real VS Code (code-server), driven by a real browser (Debian's Chromium)."""
