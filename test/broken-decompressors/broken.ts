/**
 * A gzip decompressor with one fault. Called as `broken.ts FAULT`: reads gzip on stdin and writes what is in it to stdout, as `unpigz -d -c` does,
 * until it fails in its own way. `plant.ts` puts it on a PATH.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, closeSync, writeSync } from 'node:fs'
import { createGunzip } from 'node:zlib'

/** Bytes of the stream that are right. */
const faultAt = Number(process.env['WINDLASS_FAULT_AT'] ?? 300_000)
const fault = process.argv[2]
const log = process.env['WINDLASS_STARTED']
let written = 0

function write(data: Uint8Array): void {
  for (let at = 0; at < data.length; ) at += writeSync(1, data, at)
  written += data.length
}

function sleep(ms = Number.POSITIVE_INFINITY): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** A child in the same group, which holds stdout open and never writes to it. */
function leaveChild(): void {
  const { pid } = spawn('/bin/sleep', ['1000'], { stdio: ['ignore', 'inherit', 'ignore'] })
  if (log !== undefined) appendFileSync(log, `${pid}\n`)
}

const faults: Readonly<Record<string, () => void>> = {
  spin: () => {
    for (;;);
  },
  sleep: () => sleep(),
  'ignore-sigterm': () => sleep(),
  'close-stdout-and-exit': () => process.exit(0),
  'close-stdout-and-live': () => {
    closeSync(1)
    sleep()
  },
  'flip-and-sleep': () => sleep(),
  'die-by-signal': () => {
    process.kill(process.pid, 'SIGSEGV')
    sleep()
  },
  'fail-with-a-child': () => {
    leaveChild()
    process.exit(3)
  },
  'stop-itself': () => process.kill(process.pid, 'SIGSTOP'),
}

function dribble(data: Uint8Array): void {
  for (let at = 0; at < data.length; at++) {
    write(data.subarray(at, at + 1))
    sleep(50)
  }
}

function put(data: Buffer): void {
  const left = faultAt - written
  if (fault?.startsWith('flip') && written <= 1000 && written + data.length > 1000)
    data.writeUInt8(data.readUInt8(1000 - written) ^ 1, 1000 - written)
  const act = faults[fault ?? '']
  if (left <= 0 || data.length < left || (act === undefined && fault !== 'dribble')) return write(data)
  write(data.subarray(0, left))
  if (fault === 'dribble') dribble(data.subarray(left))
  act?.()
}

if (fault === 'ignore-sigterm') process.on('SIGTERM', () => {})
if (fault === 'flood-stderr') writeSync(2, Buffer.alloc(8_000_000, 'something is wrong\n'))
if (fault === 'stop-reading') setInterval(() => {}, 1000)
else {
  const gunzip = createGunzip()
  gunzip.on('data', put)
  gunzip.on('end', () => {
    if (fault !== 'leave-a-child') return
    leaveChild()
    setImmediate(() => process.exit(0))
  })
  // No pipe(): it looks at process.stdout, which makes the descriptor non-blocking.
  for await (const data of process.stdin) {
    if (!gunzip.write(data)) await once(gunzip, 'drain')
  }
  gunzip.end()
}
