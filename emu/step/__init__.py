"""`uabi-emu step`: a guest followed instruction by instruction, and bounce by bounce."""
