"""The command line: `uabi-emu`. One module per subcommand, imported when it is used."""
