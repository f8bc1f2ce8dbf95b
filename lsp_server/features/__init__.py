"""What an editor sees, one file per language server feature."""
