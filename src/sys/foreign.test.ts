import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startForeign } from './foreign.ts'

/**
 * Runs a program in a terminal of its own, does to it what is wanted as soon as what is waited for was said, and says how many processes are left of it: what
 * has no parent any more becomes a child of this one (PR_SET_CHILD_SUBREAPER). After a minute all of it is killed.
 */
const terminal = `
import ctypes, glob, os, pty, re, select, signal, sys, time
how, awaited, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
def offspring(pid):
    for file in glob.glob('/proc/%s/task/*/children' % pid):
        try:
            for child in open(file).read().split():
                yield from offspring(child)
                if open('/proc/%s/stat' % child).read().rsplit(') ')[1][0] not in 'ZX': yield int(child)
        except OSError: pass
pid, fd = pty.fork()
if pid == 0: os.execvp(command[0], command)
said, isDone, deadline = b'', False, time.time() + 60
while time.time() < deadline:
    if not select.select([fd], [], [], 1)[0]: continue
    try: data = os.read(fd, 1000)
    except OSError: break
    if not data: break
    said += data
    if isDone or not re.search(awaited.encode(), said, re.S): continue
    isDone = True
    if how == '^C': os.write(fd, b'\\x03')
    # As a front does, which does not know whether it was heard.
    else: [(os.kill(pid, signal.SIGINT), time.sleep(0.1)) for _ in range(3)]
# Who ends closes the terminal first.
while (left := list(offspring('self'))) and time.time() < deadline: time.sleep(0.05)
for one in left: os.kill(one, signal.SIGKILL)
print(said.decode(), '\\nleft', *left)
`
const starter = `
const { startForeign } = await import(${JSON.stringify(fileURLToPath(new URL('foreign.ts', import.meta.url)))})
const [file, ...args] = process.argv.slice(2)
// In between its family is looked at, and what is sent in answer is heard late.
const timer = setInterval(() => {
  console.log('acquainted')
  for (const start = Date.now(); Date.now() - start < 100; );
}, 300)
console.log(\`status \${await (await startForeign(file, args)).ended}\`)
clearInterval(timer)
`
/** They end by themselves, too. */
const waits = 'for i in $(seq 600); do sleep 0.05; done'
/** It stays until it is killed, and tells of each time that it hears. */
const listener = `exec perl -e '$| = 1; $SIG{INT} = sub { print qq(heard\\n) }; print qq(ready\\n); select(undef, undef, undef, 0.05) for 1 .. 600'`

const directory = mkdtempSync(join(tmpdir(), 'windlass-foreign-'))
after(() => rmSync(directory, { recursive: true }))
const program = join(directory, 'start.mjs')
writeFileSync(program, starter)

/** @param awaited a regular expression */
async function endAfter(how: 'kill' | '^C', script: string, { awaited = 'ready', inside = [] as string[] } = {}) {
  const args = ['-c', terminal, how, awaited, ...inside, process.execPath, program, 'sh', '-c', script]
  const { stdout, stderr } = await promisify(execFile)('python3', args, { cwd: directory, timeout: 90_000 })
  const [, said = '', left] = /^(.*)\nleft(.*)\n$/s.exec(stdout) ?? []
  assert.equal(left, '', stdout + stderr)
  return { said, heard: said.match(/heard/g)?.length ?? 0, status: Number(/status (\d+)/.exec(said)?.[1]) }
}

/** It is in a group of its own. */
const apart = listener.replace('exec', 'setsid --wait')

describe('at an interrupt', { concurrency: 3 }, () => {
  test('a command in a terminal hears of an interrupt that was sent to us alone, and may end as it likes', async () => {
    const leaving = `trap "echo heard; exit 7" INT; echo ready; ${waits}`
    assert.partialDeepStrictEqual(await endAfter('kill', leaving), { heard: 1, status: 7 })
  })

  test('it hears of it once, however often we do, and is killed if it goes on', async () => {
    assert.partialDeepStrictEqual(await endAfter('kill', listener), { heard: 1, status: 137 })
  })

  test('it hears once of one that the terminal sends to all', async () => {
    assert.partialDeepStrictEqual(await endAfter('^C', listener), { heard: 1, status: 137 })
  })

  test('so it does on a system that has no cat where others have it', { skip: process.getuid?.() !== 0 }, async () => {
    const hide = 'for cat in /usr/bin/cat /bin/cat; do mount --bind /dev/null $cat; done; exec "$@"'
    const inside = ['unshare', '--mount', 'sh', '-c', hide, 'sh']
    const script = `cat /dev/null 2> /dev/null && echo cat; ${listener}`
    const { said, heard, status } = await endAfter('^C', script, { inside })
    assert.deepEqual([said.includes('cat\r\n'), heard, status], [false, 1, 137])
  })

  test('what is in a group of its own, which the terminal does not tell, hears of it', async () => {
    assert.partialDeepStrictEqual(await endAfter('^C', `trap : INT; ${apart}`), { heard: 1, status: 137 })
  })

  test('it does so, too, if who started it has died of it before we look', async () => {
    const parent = `exec perl -e 'sleep 1; fork or exec @ARGV; sleep 30' ${apart}`
    const awaited = 'ready.*acquainted.*acquainted'
    assert.partialDeepStrictEqual(await endAfter('^C', parent, { awaited }), { heard: 1, status: 130 })
  })

  test('what is started only after the signal is not left behind if it does not listen', async () => {
    const late = `setsid --wait sh -c 'trap "" INT; sleep 20; echo over'`
    const { said, status } = await endAfter('kill', `late() { ${late}; }; trap late INT; echo ready; ${waits}`)
    assert.deepEqual([status, said.includes('over')], [137, false])
  })
})

test('what cannot be run is told, and leaves nothing of ours behind', async () => {
  const listeners = () => process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')
  const before = listeners()
  const [missing, hollow] = [join(directory, 'missing'), join(program, 'x')]
  await assert.rejects(startForeign(missing, []), {
    code: 'NOT_FOUND',
    message: `Cannot run "${missing}": spawn ${missing} ENOENT`,
  })
  await assert.rejects(startForeign(hollow, []), { code: 'FAILED', message: `Cannot run "${hollow}": spawn ENOTDIR` })
  assert.equal(listeners(), before)
})
