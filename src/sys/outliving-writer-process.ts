/** The process of `OutlivingWriter`: passes stdin on to stdout, and keeps count in the file of descriptor 3. */
import { closeSync, readSync, writeSync } from 'node:fs'
import { formatWritten } from './written-count.ts'

const countFile = 3
const piece = Buffer.alloc(64 * 1024)
let bytes = 0

function tell(state: string): void {
  try {
    writeSync(countFile, formatWritten(bytes, state), 0)
  } catch {} // the bytes have to go on all the same
}

function passOn(): void {
  for (let length = readSync(0, piece); length > 0; length = readSync(0, piece)) {
    for (let at = 0; at < length; ) {
      const taken = writeSync(1, piece, at, length - at)
      at += taken
      bytes += taken
    }
    tell('writing')
  }
}

// Whoever ends us by a signal that can be passed over wants windlass to end; the end of our input says that, too, and in order.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
try {
  passOn()
  tell('done')
} catch (error) {
  tell((error as NodeJS.ErrnoException).code ?? 'error')
}
closeSync(1)
