/** How a thread of another process is made to leave: exit_group(0) in the registers of each architecture that we know. */

export interface Machine {
  /** Bytes of the general registers (NT_PRSTATUS) of a 64-bit program; another number is another kind of program. */
  readonly registersSize: number
  /** e_machine of its ELF programs. */
  readonly elfMachine: number
  /** The instruction that enters the kernel, and what its address is a multiple of. */
  readonly enterKernel: Buffer
  readonly alignment: number
  /** Changes registers so that the thread, when it goes on, calls exit_group with that status from the instruction at `address`. */
  setExit(registers: Buffer, address: bigint, status: number): void
}

/** struct user_regs_struct: rax at 80, rdi at 112, orig_rax at 120, rip at 128. */
const x64: Machine = {
  registersSize: 216,
  elfMachine: 62,
  enterKernel: Buffer.from([0x0f, 0x05]), // syscall
  alignment: 1,
  setExit(registers, address, status) {
    registers.writeBigUInt64LE(231n, 80)
    registers.writeBigUInt64LE(BigInt(status), 112)
    registers.writeBigInt64LE(-1n, 120) // in no system call any more: the kernel must not restart the one that was interrupted
    registers.writeBigUInt64LE(address, 128)
  },
}

/**
 * struct user_pt_regs: x0 to x30, sp, pc at 256. The kernel has taken back an interrupted call before it stops the thread. It restarts one that sleeps by the clock
 * only if pc is still there; `address` lies elsewhere, in the vdso.
 */
const arm64: Machine = {
  registersSize: 272,
  elfMachine: 183,
  enterKernel: Buffer.from([0x01, 0x00, 0x00, 0xd4]), // svc #0
  alignment: 4,
  setExit(registers, address, status) {
    registers.writeBigUInt64LE(BigInt(status), 0)
    registers.writeBigUInt64LE(94n, 8 * 8)
    registers.writeBigUInt64LE(address, 256)
  },
}

const machines: Readonly<Record<string, Machine>> = { x64, arm64 }

/** @param arch as Node names it; undefined for one that we do not know */
export function machineOf(arch: string): Machine | undefined {
  return machines[arch]
}

/** Where in `code` the kernel is entered; -1 if nowhere. */
export function findKernelEntry({ enterKernel, alignment }: Machine, code: Buffer): number {
  for (let at = code.indexOf(enterKernel); at >= 0; at = code.indexOf(enterKernel, at + 1)) {
    if (at % alignment === 0) return at
  }
  return -1
}

/** e_machine of a program file, from its first bytes; undefined if it is no 64-bit ELF of this byte order. */
export function elfMachineOf(head: Buffer): number | undefined {
  const isElf64 = head.length >= 20 && head.readUInt32BE(0) === 0x7f454c46 && head[4] === 2 && head[5] === 1
  return isElf64 ? head.readUInt16LE(18) : undefined
}
