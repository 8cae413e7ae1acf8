"""From a program file to a plan of its memory. Applying the plan is execve's work (`kernel_model.exec`)."""

from loader.elf import load

__all__ = ["load"]
