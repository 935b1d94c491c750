/* Runs a command, at full speed, with what the CPUID instruction says on another x86-64 CPU.

       qemu-x86_64 -cpu MODEL other_cpu > ANSWERS     prints what CPUID says there
       other_cpu ANSWERS COMMAND...                   answers CPUID so, in the command and all that it starts

   Programs that choose their code by CPUID, as XLA, LLVM, OpenBLAS and the native operations do, choose that CPU's; this
   CPU's silicon executes it. It needs a CPU and a kernel with CPUID faulting (Linux 4.12, arch_prctl(2) ARCH_SET_CPUID),
   and exits with 125 without it. A feature that this CPU lacks is not claimed. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX, MOST = 1024, SET_CPUID = 0x1012, FAILED = 125 };

typedef struct {
    uint32_t leaf, subleaf, values[4];
} Answer;

static Answer answers[MOST];
static int count;

static void fail(const char *what) {
    perror(what);
    exit(FAILED);
}

static void instruction(uint32_t leaf, uint32_t subleaf, uint32_t values[4]) {
    __cpuid_count(leaf, subleaf, values[EAX], values[EBX], values[ECX], values[EDX]);
}

static int print_answers(void) {
    for (uint32_t base = 0; base <= 0x80000000u; base += 0x80000000u) {
        uint32_t last[4];
        instruction(base, 0, last);
        for (uint32_t leaf = base; leaf <= last[EAX]; leaf++)
            for (uint32_t subleaf = 0; subleaf < 8; subleaf++) {
                uint32_t v[4];
                instruction(leaf, subleaf, v);
                printf("%x %x %x %x %x %x\n", leaf, subleaf, v[EAX], v[EBX], v[ECX], v[EDX]);
            }
        if (base)
            break;
    }
    return 0;
}

static void read_answers(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path);
    for (Answer *a = answers; count < MOST; a++, count++)
        if (fscanf(file, "%x %x %x %x %x %x", &a->leaf, &a->subleaf, a->values, a->values + 1, a->values + 2,
                   a->values + 3) != 6)
            break;
    fclose(file);
}

/* Which registers of a leaf are lists of features. */
static int lists_features(uint32_t leaf, uint32_t subleaf, int which) {
    switch (leaf) {
    case 1:
        return which >= ECX;
    case 7:
        return subleaf ? 1 : which >= EBX;
    case 0xd:
        return subleaf == 1 && which == EAX;
    case 0x80000001u:
        return which >= ECX;
    default:
        return 0;
    }
}

/* Whether ECX says which part of a leaf is asked for; elsewhere it may hold anything. */
static int has_parts(uint32_t leaf) {
    return leaf == 4 || leaf == 7 || leaf == 0xb || (leaf >= 0xd && leaf <= 0x1f) || leaf == 0x8000001du;
}

static void answer(uint32_t leaf, uint32_t subleaf, uint32_t values[4]) {
    uint32_t own[4];
    if (!has_parts(leaf))
        subleaf = 0;
    instruction(leaf, subleaf, own);
    memset(values, 0, 4 * sizeof *values);
    for (int i = 0; i < count; i++)
        if (answers[i].leaf == leaf && answers[i].subleaf == subleaf)
            memcpy(values, answers[i].values, 4 * sizeof *values);
    for (int which = EAX; which <= EDX; which++)
        if (lists_features(leaf, subleaf, which))
            values[which] &= own[which];
        else if (leaf == 0xd) /* how much XSAVE stores goes by the registers that the kernel keeps: this CPU's */
            values[which] = own[which];
}

static void regs_of(pid_t pid, struct user_regs_struct *regs) {
    if (ptrace(PTRACE_GETREGS, pid, 0, regs))
        fail("ptrace");
}

/* A new program has CPUID again: take it away before the first instruction, by a system call in its place. */
static void take_cpuid(pid_t pid) {
    struct user_regs_struct before, call;
    int status;
    if (ptrace(PTRACE_SYSCALL, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid) /* to the end of execve */
        fail("ptrace");
    regs_of(pid, &before);
    errno = 0;
    long code = ptrace(PTRACE_PEEKTEXT, pid, before.rip, 0);
    if (errno || ptrace(PTRACE_POKETEXT, pid, before.rip, (code & ~0xffffL) | 0x050f)) /* syscall */
        fail("ptrace");
    call = before;
    call.rax = SYS_arch_prctl;
    call.orig_rax = -1;
    call.rdi = SET_CPUID;
    call.rsi = 0;
    if (ptrace(PTRACE_SETREGS, pid, 0, &call) || ptrace(PTRACE_SINGLESTEP, pid, 0, 0) ||
        waitpid(pid, &status, __WALL) != pid)
        fail("ptrace");
    regs_of(pid, &call);
    if (call.rax) {
        fprintf(stderr, "other_cpu: this machine has no CPUID faulting\n");
        kill(pid, SIGKILL);
        exit(FAILED);
    }
    before.orig_rax = -1;
    if (ptrace(PTRACE_POKETEXT, pid, before.rip, code) || ptrace(PTRACE_SETREGS, pid, 0, &before))
        fail("ptrace");
}

/* Whether the signal was a CPUID, which now has its answer. */
static int answered(pid_t pid) {
    struct user_regs_struct regs;
    uint32_t values[4];
    regs_of(pid, &regs);
    errno = 0;
    long code = ptrace(PTRACE_PEEKTEXT, pid, regs.rip, 0);
    if (errno || (code & 0xffff) != 0xa20f)
        return 0;
    answer(regs.rax, regs.rcx, values);
    regs.rax = values[EAX], regs.rbx = values[EBX], regs.rcx = values[ECX], regs.rdx = values[EDX];
    regs.rip += 2;
    return !ptrace(PTRACE_SETREGS, pid, 0, &regs);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return argc == 1 ? print_answers() : FAILED;
    read_answers(argv[1]);
    pid_t command = fork();
    if (command == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(argv[2], argv + 2);
        fail(argv[2]);
    }
    int status;
    long options = PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
    if (waitpid(command, &status, 0) != command ||
        ptrace(PTRACE_SETOPTIONS, command, 0, options | PTRACE_O_EXITKILL) || ptrace(PTRACE_CONT, command, 0, 0))
        fail("ptrace");
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) {
            if (pid == command)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        long handed = WSTOPSIG(status);
        int event = status >> 16;
        if (event == PTRACE_EVENT_EXEC)
            take_cpuid(pid);
        if (event || handed == SIGSTOP || (handed == SIGSEGV && answered(pid)))
            handed = 0; /* a stop that only the tracer sees; new threads begin with SIGSTOP */
        ptrace(PTRACE_CONT, pid, 0, handed);
    }
    return FAILED;
}
