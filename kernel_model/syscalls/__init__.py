"""System calls, one module per family; `declare` says how one is declared, `table` finds it by number."""
