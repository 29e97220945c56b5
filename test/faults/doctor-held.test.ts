/**
 * The doctor beside a process that holds a lock of its own and does not answer: who asks the kernel about it hangs, as ps does.
 * So would tests beside these that look among all processes for theirs.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LiveHost } from '../../src/sys/host-view.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { openFailingFilesystem } from '../testbed/failing-filesystem.ts'
import { program, startInUnit, type Visit } from './doctor-bed.ts'

const sources = join(import.meta.dirname, '../../src/sys')

/** Each hangs, called `podman`, with a lock of the kernel, for as long as the filesystem of its file does not answer such a request. */
const locks = {
  'the memory of a process': {
    request: 'WRITE',
    command: [process.execPath, join(import.meta.dirname, '../testbed/held-memory.ts')],
    asked: 'cmdline',
    told: /command line/,
    again: /held-memory/,
  },
  // It closes the file while it becomes another program.
  'a process that becomes another program': {
    request: 'FLUSH',
    command: [
      'perl',
      '-e',
      `open(my $file, "+<", $ARGV[0]); syswrite($file, "x"); $0 = "podman"; syswrite(STDOUT, "ready\\n"); exec("sleep", "1000")`,
    ],
    asked: 'io',
    told: /environment/,
    again: /rchar/,
  },
} as const

for (const [what, { request, command, asked, told, again }] of Object.entries(locks)) {
  test(`neither the doctor nor its collector waits for ${what}, and both say whose it is`, {
    timeout: 240_000,
  }, async () => {
    await using fuse = await openFailingFilesystem()
    const file = join(fuse.directory, 'pages')
    writeFileSync(file, Buffer.alloc(1 << 20))
    await fuse.order({ requests: [request], hang: true })
    const [start = '', ...args] = command
    const held = spawn(start, [...args, file], { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: '/usr/bin:/bin' } })
    try {
      await once(held.stdout, 'data')
      const pid = held.pid ?? 0
      const path = `/proc/${pid}/${asked}`
      await waitUntil('it hangs', 10_000, () => fuse.hasMet())
      await waitUntil('who reads it without a bound hangs', 10_000, async () => !(await isTold(path)))
      const live = runCommand(program, ['doctor', '--json', '--pid', String(pid)])
      const directory = mkdtempSync(join(tmpdir(), 'windlass-held-'))
      const facts = join(directory, 'facts')
      writeFileSync(join(directory, 'collect.sh'), await run(program, ['doctor', '--emit-collector']))
      writeFileSync(facts, await run('dash', [join(directory, 'collect.sh'), String(pid)]))
      for (const seen of [await live, await runCommand(program, ['doctor', '--json', '--from', facts])]) {
        const { findings } = JSON.parse(seen.stdout || assert.fail(seen.stderr)) as Visit
        const finding = findings.find(({ code }) => code === 'PROCESS_MEMORY_HELD')
        assert.equal(finding?.subject, `podman ${pid}`, findings.map(({ code }) => code).join(' '))
        assert.match(finding?.evidence[0] ?? '', told)
      }
      rmSync(directory, { recursive: true })
      const host = new LiveHost()
      assert.equal(host.text(path), undefined)
      assert.ok(host.silent.has(path) && new LiveHost().silent.has(path))
      await fuse.order({})
      await waitUntil('it is told again', 20_000, () => again.test(host.text(path) ?? ''))
      assert.deepEqual([...host.silent], [])
    } finally {
      held.kill('SIGKILL')
      await fuse.order({})
    }
  })
}

/** What a pull asks when its decompressor stands still, and what tells whether a process that has left its mark has ended. */
const asks = `
  import { readProgram, readProcess } from '${sources}/tasks.ts'
  import { hasEnded, ownIdentity } from '${sources}/process-identity.ts'
  const pid = Number(process.argv[2])
  const [boot, namespace] = ownIdentity().split(' ')
  console.log(JSON.stringify({ program: readProgram(pid) ?? 'untold', state: readProcess(pid)?.state, ended: hasEnded([boot, namespace, pid, 1].join(' ')) }))
  process.kill(process.pid, 'SIGKILL')`

test('neither does a pull wait for its own decompressor that becomes another program and does not get there', {
  timeout: 120_000,
}, async () => {
  await using fuse = await openFailingFilesystem()
  const file = join(fuse.directory, 'pages')
  writeFileSync(file, Buffer.alloc(1 << 20))
  await fuse.order({ requests: ['FLUSH'], hang: true })
  const [start = '', ...args] = locks['a process that becomes another program'].command
  // A script that starts the program, as a shim does.
  const held = spawn('sh', ['-c', '"$@" & wait', 'sh', start, ...args, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  try {
    await once(held.stdout, 'data')
    await waitUntil('it hangs', 10_000, () => fuse.hasMet())
    const pid = Number(readFileSync(`/proc/${held.pid}/task/${held.pid}/children`, 'utf8'))
    const directory = mkdtempSync(join(tmpdir(), 'windlass-held-'))
    const script = join(directory, 'asks.mjs')
    writeFileSync(script, asks)
    const asker = spawn(process.execPath, [script, String(pid)], { stdio: ['ignore', 'pipe', 'inherit'] })
    const said = await Promise.race([once(asker.stdout, 'data'), sleep(60_000, undefined, { ref: false })])
    asker.kill('SIGKILL')
    rmSync(directory, { recursive: true })
    const { program, state, ended } = JSON.parse(String(said?.[0] ?? assert.fail('it waits')))
    assert.equal(ended, false)
    assert.ok(program === 'untold' || program.pid === pid)
    assert.match(state, /[DSR]/)
  } finally {
    await fuse.order({})
    process.kill(-(held.pid ?? 0), 'SIGKILL')
  }
})

test('two disks that do not answer hold the doctor up no longer than one, and it says which files it missed', {
  timeout: 240_000,
}, async () => {
  await using data = await openFailingFilesystem()
  await using temporary = await openFailingFilesystem()
  const dead = [data, temporary]
  // Any question about a place begins with where it is.
  await Promise.all(dead.map(({ order }) => order({ requests: ['LOOKUP'], hang: true })))
  const [dataRoot = '', scratch = ''] = dead.map(({ directory }) => join(directory, 'place'))
  await using engine = await startInUnit(['--data-root', dataRoot], { DOCKER_TMPDIR: scratch })
  try {
    const { stdout, stderr } = await runCommand(program, ['doctor', '--json', '--pid', String(engine.pid)])
    const { findings, took } = JSON.parse(stdout || assert.fail(stderr)) as Visit
    const evidence = (code: string) => findings.filter(one => one.code === code).flatMap(one => one.evidence)
    const missed = evidence('FILES_UNANSWERED').join('\n')
    for (const place of [dataRoot, scratch]) assert.ok(missed.includes(place), `${place}: ${missed}`)
    const silent = evidence('DISK_SILENT').join('\n')
    for (const place of [dataRoot, scratch]) assert.ok(silent.includes(place), `${place}: ${silent}`)
    assert.deepEqual(
      findings.filter(({ area, severity }) => area === 'pulls' && severity === 'problem'),
      [],
    )
    assert.ok(took.ms - took.heldUpMs < 20_000, `it took ${took.ms} ms`)
  } finally {
    await Promise.all(dead.map(({ order }) => order({})))
  }
})

async function isTold(path: string): Promise<boolean> {
  const { status } = await runCommand('timeout', ['-s', 'KILL', '1', 'cat', path])
  return status === 0
}
