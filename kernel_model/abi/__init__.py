"""Constants and structure layouts of the user/kernel interface, apart from any behaviour. One module per kernel header."""
