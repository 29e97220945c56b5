import { readFileSync, readlinkSync } from 'node:fs'
import { readProcess } from './tasks.ts'

/** This process, as another one of this host can look for it later on: which boot, which PID namespace, which process, and when that was started. */
export function ownIdentity(): string {
  return `${readBoot()} ${readNamespace()} ${process.pid} ${readProcess(process.pid)?.startTicks}`
}

/** True if the process of that identity has surely ended; of another PID namespace nothing is known. */
export function hasEnded(identity: string): boolean {
  const [boot, namespace, pid, startTicks] = identity.split(' ')
  if (startTicks === undefined) return false
  if (boot !== readBoot()) return true
  if (namespace !== readNamespace()) return false
  const found = readProcess(Number(pid))
  // It does not tell since when it is there.
  if (found?.startTicks === 0) return false
  // One that nobody reaps does nothing any more.
  return found === undefined || String(found.startTicks) !== startTicks || /[ZX]/.test(found.state)
}

function readBoot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

function readNamespace(): string {
  return readlinkSync('/proc/self/ns/pid')
}
