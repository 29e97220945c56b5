import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const directory = mkdtempSync(join(tmpdir(), 'windlass-watchdog-'))
after(() => rmSync(directory, { recursive: true }))
const fifo = join(directory, 'fifo')

/** Works for so long without a beat, and then waits for a file for ever. */
const program = `
import { openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
const { startWatchdog } = await import(${JSON.stringify(fileURLToPath(new URL('watchdog.ts', import.meta.url)))})
startWatchdog({ front: undefined, tellMs: 500, leaveMs: 1500, json: false, quiet: false, report: undefined })
await sleep(1500)
const until = performance.now() + Number(process.argv[1])
while (performance.now() < until);
openSync(${JSON.stringify(fifo)})
`

function endOf(workMs: number) {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program, String(workMs)]
  return spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000, killSignal: 'SIGKILL' })
}

test('a main thread that waits for a file is ended, also if it has worked since its last beat', () => {
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0)
  for (const workMs of [0, 900]) {
    const { stderr, signal } = endOf(workMs)
    assert.match(
      stderr,
      /Cannot go on: the disk has not answered for \d+ s: openat of .*fifo/,
      `${workMs} ms, ${signal}`,
    )
  }
})
