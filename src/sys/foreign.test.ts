import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

/** Runs a program in a terminal of its own, and does to it what is wanted as soon as it says that it is ready. */
const terminal = `
import os, pty, signal, sys
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
said = b''
while True:
    try: data = os.read(fd, 1000)
    except OSError: break
    if not data: break
    isReady = b'ready' in said
    said += data
    if isReady or not b'ready' in said: continue
    if sys.argv[1] == 'kill': os.kill(pid, signal.SIGINT)
    else: os.write(fd, b'\\x03')
sys.stdout.write(said.decode())
`
const starter = `
const { startForeign } = await import(${JSON.stringify(fileURLToPath(new URL('foreign.ts', import.meta.url)))})
const [file, ...args] = process.argv.slice(2)
console.log(\`status \${await (await startForeign(file, args)).ended}\`)
`
const listener = "trap 'echo heard; sleep 0.1; exit 7' INT; echo ready; while :; do sleep 0.05; done"

const directory = mkdtempSync(join(tmpdir(), 'windlass-foreign-'))
after(() => rmSync(directory, { recursive: true }))
const program = join(directory, 'start.mjs')
writeFileSync(program, starter)

function endAfter(how: 'kill' | '^C', ...command: readonly string[]) {
  const args = ['-c', terminal, how, process.execPath, program, ...command]
  const { stdout } = spawnSync('python3', args, { cwd: directory, encoding: 'utf8', timeout: 60_000 })
  return { heard: stdout.match(/heard/g)?.length ?? 0, status: Number(/status (\d+)/.exec(stdout)?.[1]) }
}

test('a command in a terminal hears of an interrupt that was sent to us alone', () => {
  assert.deepEqual(endAfter('kill', 'sh', '-c', listener), { heard: 1, status: 7 })
})

test('it hears once of one that the terminal sends to all, in a group of its own, too, which the terminal does not tell', () => {
  assert.deepEqual(endAfter('^C', 'sh', '-c', listener), { heard: 1, status: 7 })
  assert.equal(endAfter('^C', 'sh', '-c', `setsid --wait sh -c "${listener}"; exit 7`).heard, 1)
})
