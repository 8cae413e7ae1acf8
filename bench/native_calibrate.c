/* What ways into a real kernel cost on this host: bare, seccomp's SECCOMP_RET_TRAP, Syscall User Dispatch.
 *
 *     native_calibrate CALLS RUNS
 *
 * Each way is measured in a child of its own, since a filter can't be taken off. Prints a line for each: its name,
 * then "ns", the fastest and the middle one of RUNS, in nanoseconds a call; or "refused", an errno, and which call
 * failed. `bench/native_calibrate.py` compiles, runs and reads this program. x86-64 Linux only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define SA_RESTORER_ 0x04000000
#define PR_SET_SYSCALL_USER_DISPATCH_ 59
#define PR_SYS_DISPATCH_ON_ 1
#define MAX_RUNS 1000

/* The code that stands for the vDSO: calls from here pass, calls from anywhere else are trapped. The linker names a
 * section's bounds when its name is a C identifier. */
long real_call(long number, long a, long b, long c, long d, long e, long f);
void back_from_signal(void);
extern const char __start_passes[], __stop_passes[];
__asm__(".pushsection passes, \"ax\", @progbits\n"
	".globl real_call\n"
	"real_call:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	ret\n"
	".globl back_from_signal\n"
	"back_from_signal:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n"
	"	nop\n" /* so that PC after the last call is inside too */
	".popsection\n");

/* The call that is measured, by its own instruction. */
static inline long plain_getppid(void)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"((long)SYS_getppid) : "rcx", "r11", "memory");
	return result;
}

struct kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static void emulate(int signum, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signum, (void)info;
	regs[REG_RAX] = real_call(regs[REG_RAX], regs[REG_RDI], regs[REG_RSI], regs[REG_RDX], regs[REG_R10],
				  regs[REG_R8], regs[REG_R9]);
}

static void nothing(int signum, siginfo_t *info, void *context)
{
	(void)signum, (void)info, (void)context;
}

static int handle(int signum, void (*handler)(int, siginfo_t *, void *))
{
	struct kernel_sigaction action = {handler, SA_SIGINFO | SA_RESTORER_, back_from_signal, 0};

	return syscall(SYS_rt_sigaction, signum, &action, NULL, sizeof(action.mask));
}

/* The filter of "Moving the Linux ABI to Userspace" (Linux Plumbers 2019), with the bounds as constants, since Linux's
 * seccomp_data has none. */
#define LD(field, half) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field) + (half))
#define BOUND(value) BPF_STMT(BPF_LD | BPF_IMM, (value))
#define TAX BPF_STMT(BPF_MISC | BPF_TAX, 0)
#define JUMP_X(test, yes, no) BPF_JUMP(BPF_JMP | (test) | BPF_X, 0, (yes), (no))

static int install_filter(void)
{
	uint64_t start = (uintptr_t)__start_passes, end = (uintptr_t)__stop_passes;
	struct sock_filter insns[] = {
		LD(arch, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 19),
		LD(instruction_pointer, 4),
		TAX,
		BOUND(start >> 32),
		JUMP_X(BPF_JGT, 15, 0), /* the bound is above: trap */
		JUMP_X(BPF_JGE, 0, 4),
		LD(instruction_pointer, 0),
		TAX,
		BOUND((uint32_t)start),
		JUMP_X(BPF_JGT, 10, 0),
		LD(instruction_pointer, 4),
		TAX,
		BOUND(end >> 32),
		JUMP_X(BPF_JGE, 0, 6),
		JUMP_X(BPF_JGT, 4, 0),
		LD(instruction_pointer, 0),
		TAX,
		BOUND((uint32_t)end),
		JUMP_X(BPF_JGT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = {sizeof(insns) / sizeof(insns[0]), insns};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static volatile char selector; /* SYSCALL_DISPATCH_FILTER_ALLOW; 1 is _BLOCK */

static int start_dispatch(void)
{
	return prctl(PR_SET_SYSCALL_USER_DISPATCH_, PR_SYS_DISPATCH_ON_, __start_passes,
		     __stop_passes - __start_passes, &selector);
}

/* What is called in the loops. */
static long process;

static void plain(void)
{
	plain_getppid();
}

static void passed(void)
{
	real_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

static void raised(void)
{
	real_call(SYS_tgkill, process, process, SIGUSR1, 0, 0, 0);
}

static int prepare_nothing(void)
{
	return 0;
}

static int prepare_signal(void)
{
	return handle(SIGUSR1, nothing);
}

static int prepare_filter(void)
{
	return handle(SIGSYS, emulate) || install_filter();
}

static int prepare_dispatch(void)
{
	if (handle(SIGSYS, emulate) || start_dispatch())
		return -1;
	selector = 1;
	return 0;
}

static const struct way {
	const char *name, *needs;
	int (*prepare)(void);
	void (*call)(void);
} ways[] = {
	{"bare", "nothing", prepare_nothing, plain},
	{"signal", "rt_sigaction", prepare_signal, raised},
	{"seccomp-allowed", "seccomp(SECCOMP_SET_MODE_FILTER)", prepare_filter, passed},
	{"seccomp-trapped", "seccomp(SECCOMP_SET_MODE_FILTER)", prepare_filter, plain},
	{"dispatch-allowed", "prctl(PR_SET_SYSCALL_USER_DISPATCH)", prepare_dispatch, passed},
	{"dispatch-trapped", "prctl(PR_SET_SYSCALL_USER_DISPATCH)", prepare_dispatch, plain},
};

struct result { /* in memory that parent and child share */
	int done, error;
	double ns[MAX_RUNS];
};

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static void measure(const struct way *way, struct result *result, long calls, long runs)
{
	process = getpid();
	if (way->prepare()) {
		result->error = errno;
	} else {
		for (long run = -1; run < runs; run++) { /* the first one warms up */
			double start = now_ns();

			for (long call = 0; call < calls; call++)
				way->call();
			if (run >= 0)
				result->ns[run] = (now_ns() - start) / calls;
		}
		selector = 0;
	}
	result->done = 1;
	_exit(0);
}

static int by_value(const void *left, const void *right)
{
	double difference = *(const double *)left - *(const double *)right;

	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	long calls = argc == 3 ? atol(argv[1]) : 0, runs = argc == 3 ? atol(argv[2]) : 0;
	struct result *result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cpu_set_t one;

	if (calls < 1 || runs < 1 || runs > MAX_RUNS || result == MAP_FAILED) {
		fprintf(stderr, "usage: native_calibrate CALLS RUNS (at most %d)\n", MAX_RUNS);
		return 2;
	}
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		fprintf(stderr, "not pinned to a CPU: %s\n", strerror(errno));
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		pid_t child;

		memset(result, 0, sizeof(*result));
		child = fork();
		if (child == 0)
			measure(&ways[i], result, calls, runs);
		if (child < 0) {
			perror("fork");
			return 1;
		}
		waitpid(child, NULL, 0);
		if (!result->done) {
			printf("%s refused 0 the process was killed\n", ways[i].name);
		} else if (result->error) {
			printf("%s refused %d %s\n", ways[i].name, result->error, ways[i].needs);
		} else {
			qsort(result->ns, runs, sizeof(result->ns[0]), by_value);
			printf("%s ns %.1f %.1f\n", ways[i].name, result->ns[0], result->ns[runs / 2]);
		}
		fflush(stdout);
	}
	return 0;
}
