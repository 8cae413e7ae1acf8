"""What single instructions do in user mode: privilege, exceptions, fault addresses, features announced."""

from __future__ import annotations

import threading

import pytest

from emu.cpu import aarch64
from kernel_model.arch import aarch64 as arm64_names
from kernel_model.arch import x86_64 as x86_names
from kernel_model.cpu import ImageLayout
from tests.cpu.bare_metal import CODE, DATA, STACK, BareMetal


@pytest.fixture(scope="module")
def arm() -> BareMetal:
    return BareMetal("aarch64")


@pytest.fixture(scope="module")
def x86() -> BareMetal:
    return BareMetal("x86_64")


def words(*instructions: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in instructions)


SVC = 0xD4000001
FEATURES = {
    "fp": 0x1E622820,  # fadd d0, d1, d2
    "asimd": 0x4EA28420,  # add v0.4s, v1.4s, v2.4s
    "aes": 0x4E284820,  # aese v0.16b, v1.16b
    "pmull": 0x0EE2E020,  # pmull v0.1q, v1.1d, v2.1d
    "sha1": 0x5E280820,  # sha1h s0, s1
    "sha2": 0x5E024020,  # sha256h q0, q1, v2.4s
    "crc32": 0x1AC24020,  # crc32b w0, w1, w2
    "atomics": 0xF82003E1,  # ldadd x0, x1, [sp]
    "fphp": 0x1EE22820,  # fadd h0, h1, h2
    "asimdhp": 0x4E421420,  # fadd v0.8h, v1.8h, v2.8h
    "asimdrdm": 0x6E828420,  # sqrdmlah v0.4s, v1.4s, v2.4s
    "jscvt": 0x1E7E0020,  # fjcvtzs w0, d1
    "fcma": 0x6E82E420,  # fcadd v0.4s, v1.4s, v2.4s, #90
    "lrcpc": 0x38BFC3E0,  # ldaprb w0, [sp]
    "dcpop": 0xD50B7C29,  # dc cvap, x9
    "sha3": 0xCE020C20,  # eor3 v0.16b, v1.16b, v2.16b, v3.16b
    "sm3": 0xCE420C20,  # sm3ss1 v0.4s, v1.4s, v2.4s, v3.4s
    "sm4": 0xCEC08420,  # sm4e v0.4s, v1.4s
    "asimddp": 0x6E829420,  # udot v0.4s, v1.16b, v2.16b
    "sha512": 0xCE628020,  # sha512h q0, q1, v2.2d
    "asimdfhm": 0x4E22EC20,  # fmlal v0.4s, v1.4h, v2.4h
    "ilrcpc": 0x194003E0,  # ldapurb w0, [sp]
    "flagm": 0xD500401F,  # cfinv
    "sb": 0xD50330FF,  # sb
    "dcpodp": 0xD50B7D29,  # dc cvadp, x9
    "flagm2": 0xD500405F,  # axflag
    "frint": 0x1E684020,  # frint32z d0, d1
}
ABSENT = {
    "sve": 0x04BF5000,  # rdvl x0, #0
    "i8mm": 0x4E82A420,  # smmla v0.4s, v1.16b, v2.16b
    "bf16": 0x6E42FC20,  # bfdot v0.4s, v1.8h, v2.8h
    "mte": 0x9AC01000,  # irg x0, x0, x0
}


@pytest.mark.parametrize("feature", FEATURES)
def test_announced_feature_executes(arm: BareMetal, feature: str) -> None:
    arm.load(words(FEATURES[feature], SVC))
    registers = arm.cpu.read_gregs()
    registers[9] = DATA
    arm.cpu.write_gregs(registers)
    arm.cpu.run()
    assert arm.recorder.seen[-1][0] == "syscall"


def test_every_announced_feature_is_tried() -> None:
    assert set(FEATURES) == set(aarch64._HWCAP) | set(aarch64._HWCAP2)


@pytest.mark.parametrize("feature", ABSENT)
def test_absent_feature_is_undefined_and_not_announced(arm: BareMetal, feature: str) -> None:
    assert arm.run(words(ABSENT[feature], SVC)) == ("undefined",)
    assert feature not in FEATURES


@pytest.mark.parametrize(
    "word",
    [0xD5381000, 0xD5384240, 0xD50342DF, 0xD4400020, 0xD4000003, 0xD4000002],
    ids=["mrs sctlr_el1", "mrs CurrentEL", "msr daifset", "hlt", "smc", "hvc"],
)
def test_aarch64_privileged_is_undefined(arm: BareMetal, word: int) -> None:
    assert arm.run(words(word, SVC)) == ("undefined",)
    assert arm.cpu.read_gregs()[arm64_names.PC_INDEX] == CODE


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("f4", "general_protection"),  # hlt
        ("fa", "general_protection"),  # cli
        ("0f20c0", "general_protection"),  # mov rax, cr0
        ("ec", "general_protection"),  # in al, dx
        ("ee", "general_protection"),  # out dx, al
        ("cd80", "general_protection"),  # int 0x80
        ("0f0b", "undefined"),  # ud2
        ("31c9f7f1", "divide"),  # xor ecx, ecx; div ecx
        ("cc", "breakpoint"),  # int3
    ],
)
def test_x86_exceptions_arrive_every_time(x86: BareMetal, code: str, kind: str) -> None:
    for _ in range(3):  # the engine takes a second one for a double fault unless it is made to forget the first
        assert x86.run(bytes.fromhex(code) + b"\x0f\x05") == (kind,)


def test_aarch64_fault_addresses(arm: BareMetal) -> None:
    # movz x1, #0x77, lsl #16; ldr x2, [x1, #0x128]
    assert arm.run(words(0xD2A00EE1, 0xF9409422)) == ("fault", 0x770128, 1)
    # movz x1, #0x77, lsl #16; str w2, [x1], #4
    assert arm.run(words(0xD2A00EE1, 0xB8004422)) == ("fault", 0x770000, 2)
    # movz x1, #0x77, lsl #16; stp x2, x3, [x1, #-16]!
    assert arm.run(words(0xD2A00EE1, 0xA9BF0C22)) == ("fault", 0x76FFF0, 2)
    # movz x1, #0x77, lsl #16; mov x2, #3; ldrb w3, [x1, x2]
    assert arm.run(words(0xD2A00EE1, 0xD2800062, 0x38626823)) == ("fault", 0x770003, 1)
    # a load that starts in the data page and runs over its end: movz x1, #0x50, lsl #16; ldr x2, [x1, #0xffc] unscaled
    assert arm.run(words(0xD2A00A01, 0x91400421, 0xF85FC022)) == ("fault", 0x501000, 1)
    # movz x1, #0x50, lsl #16; br x1: data is not executable
    assert arm.run(words(0xD2A00A01, 0xD61F0020)) == ("fault", DATA, 4)


def test_aarch64_top_byte_is_ignored(arm: BareMetal) -> None:
    # movz x1, #0x50, lsl #16; movk x1, #0xab00, lsl #48; ldr x2, [x1]; svc
    assert arm.run(words(0xD2A00A01, 0xF2F56001, 0xF9400022, SVC))[0] == "syscall"


def test_x86_fault_addresses(x86: BareMetal) -> None:
    assert x86.run(bytes.fromhex("488b042578563412")) == ("fault", 0x12345678, 1)  # mov rax, [0x12345678]
    # mov ebx, 0x777000; mov ecx, 4; add qword ptr [rbx + rcx*8 + 3], 5
    assert x86.run(bytes.fromhex("bb00707700b904000000488344cb0305"))[:2] == ("fault", 0x777023)
    assert x86.run(bytes.fromhex("bc0000600050")) == ("fault", 0x5FFFF8, 2)  # mov esp, 0x600000; push rax
    assert x86.run(bytes.fromhex("bc00006000c3")) == ("fault", 0x600000, 1)  # mov esp, 0x600000; ret
    assert x86.run(bytes.fromhex("bb00105000488b43fc")) == ("fault", 0x501000, 1)  # across a page's end
    # mov rbx, 1 << 63; mov rax, [rbx]: not canonical; then the same with rbp
    assert x86.run(bytes.fromhex("48bb0000000000000080488b03")) == ("general_protection",)
    assert x86.run(bytes.fromhex("48bd0000000000000080488b4500")) == ("stack_segment",)


def test_x86_fsgsbase(x86: BareMetal) -> None:
    # mov eax, 0x500000; wrfsbase rax; mov rax, fs:[0]; syscall
    assert x86.cpu.hwcaps()[1] & 2
    assert x86.run(bytes.fromhex("b800005000f3480faed064488b0425000000000f05"))[0] == "syscall"
    assert x86.cpu.get_tls() == DATA


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_fresh_thread_and_register_round_trip(arch: str) -> None:
    machine = BareMetal(arch)
    names = (arm64_names if arch == "aarch64" else x86_names).GREG_NAMES
    machine.load(b"\0" * 16)
    fresh = dict(zip(names, machine.cpu.read_gregs(), strict=True))
    assert fresh.pop("sp" if arch == "aarch64" else "rsp") == STACK
    assert fresh.pop("pc" if arch == "aarch64" else "rip") == CODE
    assert fresh.pop("pstate" if arch == "aarch64" else "rflags") == (0 if arch == "aarch64" else 0x202)
    assert not any(fresh.values())
    values = [0x1111 * (i + 1) for i in range(len(names))]
    values[-1] = 0x6000_0000 if arch == "aarch64" else 0x246
    machine.cpu.write_gregs(values)
    assert machine.cpu.read_gregs() == values
    vectors = bytearray(machine.cpu.read_fpregs())
    start = 0 if arch == "aarch64" else 160
    vectors[start : start + 64] = bytes(range(64))
    machine.cpu.write_fpregs(bytes(vectors))
    assert machine.cpu.read_fpregs() == bytes(vectors)


LAYOUTS = {"aarch64": ImageLayout(1128, 312, 608, 600), "x86_64": ImageLayout(968, 48, 456)}


@pytest.mark.parametrize("arch", LAYOUTS)
def test_an_image_has_all_registers_and_gives_them_back(arch: str) -> None:
    machine = BareMetal(arch)
    cpu, layout = machine.cpu, LAYOUTS[arch]
    machine.load(b"\0" * 16)
    gregs = [0x1111 * (i + 1) for i in range(len(cpu.read_gregs()))]
    gregs[-1] = 0x6000_0000 if arch == "aarch64" else 0x246
    fpregs = bytearray(cpu.read_fpregs())
    vectors = 0 if arch == "aarch64" else 160
    fpregs[vectors : vectors + 256] = bytes(range(256))
    if arch == "x86_64":
        fpregs[4] = 0x81  # tags: the first and the last register are in use
        fpregs[32:42] = fpregs[144:154] = bytes(range(1, 11))
    cpu.write_gregs(gregs)
    cpu.write_fpregs(bytes(fpregs))
    image = cpu.register_image(layout)
    image.load()
    assert image.data[layout.gregs :][: 8 * len(gregs)].tobytes() == cpu.read_gregs_bytes()
    assert image.data[layout.vectors :][:512].tobytes() == cpu.read_fpregs()[:512]
    if layout.fp_status:
        assert image.data[layout.fp_status :][:8].tobytes() == cpu.read_fpregs()[512:520]
    cpu.start_thread(CODE, STACK)
    image.store()
    assert cpu.read_gregs() == gregs
    assert cpu.read_fpregs() == bytes(fpregs)
    assert cpu.read_pc() == gregs[-2]


COUNTING_LOOP = {
    # l: ldr x3, [sp]; add x3, x3, #1; str x3, [sp]; add x1, x1, #1; b l
    "aarch64": words(0xF94003E3, 0x91000463, 0xF90003E3, 0x91000421, 0x17FFFFFC),
    # l: add qword ptr [rsp], 1; inc rbx; jmp l
    "x86_64": bytes.fromhex("488304240148ffc3ebf6"),
}


@pytest.mark.parametrize("arch", COUNTING_LOOP)
def test_an_interrupted_loop_goes_on_without_doing_anything_twice(arch: str) -> None:
    machine = BareMetal(arch)
    cpu = machine.cpu
    machine.ram.view[0x2800:0x2808] = bytes(8)
    machine.load(COUNTING_LOOP[arch])
    cpu.set_preemptible(True)
    counter = 1 if arch == "aarch64" else 11
    before = 0
    for _ in range(20):
        thread = threading.Timer(0.005, cpu.interrupt_from_thread)
        thread.start()
        cpu.run()
        thread.join()
        assert machine.recorder.seen[-1] == ("interrupted",)
        in_register = cpu.read_gregs()[counter]
        in_memory = int.from_bytes(machine.ram.view[0x2800:0x2808], "little")
        assert in_register >= before
        assert in_memory - in_register in (0, 1)
        before = in_register
    assert before > 0
