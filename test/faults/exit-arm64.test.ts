/**
 * How a process of arm64 is made to leave, in a process of arm64 as far as emulation goes: the registers that a rescue would set, and the instruction that it would look for, are run by
 * qemu-user. It does not emulate ptrace(2), so the registers are set by instructions here.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { elfMachineOf, findKernelEntry, type Machine, machineOf } from '../../src/sys/exit-registers.ts'
import { runCommand } from '../testbed/command.ts'

const arm64 = machineOf('arm64') as Machine
const loadAddress = 0x400000
const headersSize = 64 + 56

/** `movz Xn, #value` */
function setRegister(register: number, value: number): Buffer {
  const code = Buffer.alloc(4)
  code.writeUInt32LE((0xd2800000 | (value << 5) | register) >>> 0)
  return code
}

/** The least that Linux runs: an ELF header, one segment, and the code right behind them. */
function makeProgram(code: Buffer): Buffer {
  const head = Buffer.alloc(headersSize)
  head.write('\x7fELF', 'latin1')
  head.set([2, 1, 1], 4)
  head.writeUInt16LE(2, 16)
  head.writeUInt16LE(183, 18)
  head.writeUInt32LE(1, 20)
  head.writeBigUInt64LE(BigInt(loadAddress + headersSize), 24)
  head.writeBigUInt64LE(64n, 32)
  head.writeUInt16LE(64, 52)
  head.writeUInt16LE(56, 54)
  head.writeUInt16LE(1, 56)
  head.writeUInt32LE(1, 64)
  head.writeUInt32LE(5, 68)
  head.writeBigUInt64LE(BigInt(loadAddress), 80)
  for (const at of [96, 104]) head.writeBigUInt64LE(BigInt(headersSize + code.length), at)
  head.writeBigUInt64LE(0x1000n, 112)
  return Buffer.concat([head, code])
}

for (const status of [0, 7]) {
  test(`the registers of arm64 end the process with status ${status}`, async () => {
    const registers = Buffer.alloc(arm64.registersSize)
    arm64.setExit(registers, 0x1234n, status)
    assert.equal(registers.readBigUInt64LE(256), 0x1234n)
    const general = Array.from({ length: 31 }, (_, at) => Number(registers.readBigUInt64LE(at * 8)))
    const code = Buffer.concat([
      ...general.map((value, register) => setRegister(register, value)),
      arm64.enterKernel,
      Buffer.from([0, 0, 0x20, 0xd4]), // brk: who comes here has not left
    ])
    const directory = mkdtempSync(join(tmpdir(), 'windlass-arm64-'))
    try {
      const program = join(directory, 'program')
      writeFileSync(program, makeProgram(code), { mode: 0o755 })
      assert.equal(elfMachineOf(readFileSync(program).subarray(0, 20)), arm64.elfMachine)
      assert.equal(findKernelEntry(arm64, code), general.length * 4)
      const ended = await runCommand('qemu-aarch64-static', [program])
      assert.deepEqual([ended.status, ended.signal], [status, null], ended.stderr)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
}
