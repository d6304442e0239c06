"""The subcommands of `workbench`, one a file; each only reads its options and calls the library."""
