"""`uabi-emu trace`: bounces told as stories, and every instruction of a run as a line (docs/trace.md)."""
