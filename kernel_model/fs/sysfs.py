"""/sys: only what programs ask about the machine: its CPUs and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.fs.procfs_status import cpu_list, cpu_mask
from kernel_model.fs.pseudo import KernelSuperBlock, Node, PseudoDir, constant, dir_node
from kernel_model.types import PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.fs.inode import Inode
    from kernel_model.kernel import Kernel

SYSFS_MAGIC: Final = 0x62656572
_NR_CPUS: Final = 64


def _cpus(count: int) -> dict[bytes, Node]:
    """/sys/devices/system/cpu (Documentation/ABI/testing/sysfs-devices-system-cpu)."""
    here, here_mask = cpu_list(count), cpu_mask(count)
    entries = {
        b"kernel_max": constant(b"%d\n" % (_NR_CPUS - 1)),
        b"offline": constant(b"\n"),
        b"online": constant(here + b"\n"),
        b"possible": constant(here + b"\n"),
        b"present": constant(here + b"\n"),
    }
    for cpu in range(count):
        mine, my_mask = b"%d\n" % cpu, cpu_mask(cpu + 1, cpu)
        topology = {
            b"core_cpus": constant(my_mask + b"\n"),
            b"core_cpus_list": constant(mine),
            b"core_id": constant(mine),
            b"core_siblings": constant(here_mask + b"\n"),
            b"core_siblings_list": constant(here + b"\n"),
            b"package_cpus": constant(here_mask + b"\n"),
            b"package_cpus_list": constant(here + b"\n"),
            b"physical_package_id": constant(b"0\n"),
            b"thread_siblings": constant(my_mask + b"\n"),
            b"thread_siblings_list": constant(mine),
        }
        entries[b"cpu%d" % cpu] = dir_node({b"topology": dir_node(topology)}, mode=0o755)
    return entries


def make_root(kernel: Kernel) -> Inode:
    """The root of /sys."""
    sb = KernelSuperBlock(kernel, "sysfs", kernel.mounts.new_dev(), SYSFS_MAGIC)
    sb.file_size = PAGE_SIZE
    node = {
        b"node0": dir_node(
            {
                b"cpulist": constant(cpu_list(kernel.cpu_count) + b"\n"),
                b"cpumap": constant(cpu_mask(kernel.cpu_count) + b"\n"),
            },
            mode=0o755,
        ),
        b"online": constant(b"0\n"),
        b"possible": constant(b"0\n"),
    }
    huge_pages = {
        b"defrag": constant(b"always defer defer+madvise [madvise] never\n"),
        b"enabled": constant(b"always madvise [never]\n"),
        b"hpage_pmd_size": constant(b"2097152\n"),
        b"shmem_enabled": constant(b"always within_size advise [never] deny force\n"),
        b"use_zero_page": constant(b"1\n"),
    }
    system = {
        b"cpu": dir_node(_cpus(kernel.cpu_count), mode=0o755),
        b"node": dir_node(node, mode=0o755),
    }
    return PseudoDir(
        sb,
        {
            b"devices": dir_node({b"system": dir_node(system, mode=0o755)}, mode=0o755),
            b"fs": dir_node({}, mode=0o755),
            b"kernel": dir_node(
                {b"mm": dir_node({b"transparent_hugepage": dir_node(huge_pages, mode=0o755)}, mode=0o755)},
                mode=0o755,
            ),
        },
        ino=1,
    )
