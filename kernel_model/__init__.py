"""The kernel: Linux's system call interface as plain Python data and functions.

It imports no CPU engine. It sees a CPU as the register window of :mod:`kernel_model.cpu`, memory as page frames
it owns (:mod:`kernel_model.mm`), and everything it cannot know by itself (time, chance, host files, the terminal)
through the one object of :mod:`kernel_model.host`.
"""
