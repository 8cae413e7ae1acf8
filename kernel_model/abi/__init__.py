"""Constants and structure layouts of the user/kernel interface, apart from any behaviour: a module per header."""
