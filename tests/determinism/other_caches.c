// Preloaded into a process, makes CPUID tell of caches of other sizes: the kernel lets a process fault on the
// instruction (arch_prctl(2), ARCH_SET_CPUID), and the handler gives what the CPU says with leaf 4 changed.
// OTHER_CACHES has the sizes of the first level's data cache and of the second level, in KiB, with a comma between.

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { kSetCpuid = 0x1012, kWays = 8, kUnused = 77 };

static unsigned kilobytes[4];  // by subleaf: 0 is the first level's data cache, 2 the second level

static void Answer(int signal_number, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const unsigned char* code = (const unsigned char*)registers[REG_RIP];
  (void)info;
  if (code[0] != 0x0f || code[1] != 0xa2) {
    signal(signal_number, SIG_DFL);
    return;
  }
  unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX];
  unsigned a, b, c, d;
  syscall(SYS_arch_prctl, kSetCpuid, 1);
  __cpuid_count(leaf, subleaf, a, b, c, d);
  syscall(SYS_arch_prctl, kSetCpuid, 0);
  if (leaf == 4 && subleaf < 4 && kilobytes[subleaf]) {
    unsigned line = (b & 0xfff) + 1;
    b = (kWays - 1) << 22 | (b & 0xfff);
    c = kilobytes[subleaf] * 1024 / kWays / line - 1;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void Start(void) {
  const char* sizes = getenv("OTHER_CACHES");
  if (!sizes || sscanf(sizes, "%u,%u", &kilobytes[0], &kilobytes[2]) != 2) return;
  struct sigaction action = {0};
  action.sa_sigaction = Answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, NULL);
  if (syscall(SYS_arch_prctl, kSetCpuid, 0)) _exit(kUnused);
}
