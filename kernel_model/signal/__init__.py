"""Signals: what is pending, what is done about it, and the frames that handlers see."""
