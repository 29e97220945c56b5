/** How far an `OutlivingWriter` has come, in a file that outlives it, too. */
import { readFileSync } from 'node:fs'

/** What it writes into the file. */
export interface WrittenSoFar {
  /** Bytes that the pipe has taken. */
  readonly bytes: number
  /** `writing`: the number may be up to 64 KiB behind. `done`: it is exact. Else the name of an error that ended it: exact, too. */
  readonly state: string
}

/** Always as long: the file is written over in place, which needs no room on a disk that has become full. */
export function formatWritten(bytes: number, state: string): string {
  return `${String(bytes).padStart(20)} ${state.slice(0, 10).padEnd(10)}\n`
}

/** What a writer says, or has said, in its file. */
export function readWritten(countFile: string): WrittenSoFar | undefined {
  try {
    const [, bytes, state] = /^ *(\d+) (\w+) *\n$/.exec(readFileSync(countFile, 'latin1')) ?? []
    return bytes === undefined || state === undefined ? undefined : { bytes: Number(bytes), state }
  } catch {
    return undefined
  }
}
