import { readFileSync } from 'node:fs'
import { arch, availableParallelism, release, totalmem } from 'node:os'
import { readVersion } from '../commands/version.ts'

/** What a report tells of the machine. Nothing that names it or its users, and nothing of the environment. */
export interface HostFacts {
  readonly windlass: string
  readonly node: string
  readonly operatingSystem: string
  readonly kernel: string
  readonly architecture: string
  readonly cores: number
  readonly memoryBytes: number
}

/** Reads the facts of this machine. */
export function readHostFacts(): HostFacts {
  return {
    windlass: readVersion(),
    node: process.version,
    operatingSystem: readOperatingSystem(),
    kernel: release(),
    architecture: arch(),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
  }
}

/** os-release(5): shell-like assignments. */
function readOperatingSystem(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8')
    return /^PRETTY_NAME=["']?(.*?)["']?$/m.exec(text)?.[1] ?? 'Linux'
  } catch {
    return 'Linux'
  }
}
