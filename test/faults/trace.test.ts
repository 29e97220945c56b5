/** `windlass trace` around commands that are engines of a kind, or talk to one: what it tells, whose it is, and how it ends. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TraceTimes } from '../../src/doctor/trace.ts'
import { readIfThere } from '../read-if-there.ts'
import { collectResult, waitUntil } from '../testbed/command.ts'
import { program } from './doctor-bed.ts'

const row = { timeout: 120_000 }
const directory = mkdtempSync(join(tmpdir(), 'windlass-trace-'))
after(() => rmSync(directory, { recursive: true, force: true }))

interface Summary {
  readonly times: TraceTimes
  readonly layers: number
  readonly others: { readonly leftOut: number; readonly clients: number }
  readonly totalMs: number
  readonly status: number
}

/** A script that is called podman while it runs: an engine, and the command that pulls. */
function writePodman(name: string, script: string): string {
  const file = join(directory, name)
  writeFileSync(file, `printf podman >/proc/$$/comm\n${script}\n`)
  return file
}

function startTrace(args: readonly string[], words: readonly string[]): ChildProcess {
  return spawn(program, ['trace', ...args, '--', ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** What it says on stderr, as it comes. */
function listen(child: ChildProcess): () => string {
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return () => said
}

function isThere(pid: string): boolean {
  return /^\d+ \(.*\) [^Z]/.test(readIfThere(`/proc/${pid}/stat`))
}

test(
  'an engine that is stopped before anything of its pull is to be seen is named, and so is one that just waits',
  row,
  async () => {
    const stopped = startTrace([], ['bash', writePodman('stopped', 'kill -STOP $$')])
    const waiting = startTrace([], ['bash', writePodman('waiting', 'sleep 600; :'), 'pull', 'r.example/x'])
    const [saidOfStopped, saidOfWaiting] = [listen(stopped), listen(waiting)]
    try {
      await waitUntil('it is named', 60_000, () => saidOfStopped().includes('[ENGINE_STOPPED]'))
      await waitUntil('it is told', 60_000, () =>
        /no download and no decompressor of it is to be seen/.test(saidOfWaiting()),
      )
      assert.deepEqual([stopped.exitCode, waiting.exitCode], [null, null])
    } finally {
      for (const child of [stopped, waiting]) child.kill('SIGTERM')
      await Promise.all([once(stopped, 'close'), once(waiting, 'close')])
    }
  },
)

test('it ends with its command, also in the middle of a look, and its parts are all that time', row, async () => {
  // The look at a line that stands still takes longer than is left.
  const times = join(directory, 'times')
  const script = `date +%s%3N >${times}; sleep 600 | gzip -d -c | cat & sleep 8; date +%s%3N >>${times}; kill $(jobs -p); exec sh -c 'exit 3'`
  const { stdout, stderr, status } = await collectResult(
    startTrace(['--json'], ['bash', '-m', writePodman('short', script), 'pull']),
  )
  const [began = 0, ended = 0] = readFileSync(times, 'utf8').trim().split('\n').map(Number)
  const summary = JSON.parse(stdout || assert.fail(stderr)) as Summary
  assert.deepEqual([status, summary.status], [3, 3])
  assert.ok(Math.abs(summary.totalMs - (ended - began)) < 3500, `${summary.totalMs} of ${ended - began} ms`)
  const { downloading, both, unpacking, other } = summary.times
  assert.ok(Math.abs(downloading + both + unpacking + other - summary.totalMs) < 1)
  assert.ok(unpacking > 0)
})

test('a layer that a script unpacks is one, whatever the script starts for it', row, async () => {
  const shim = join(directory, 'unpigz')
  writeFileSync(shim, '#!/bin/sh\nsleep 2\ngzip "$@"\n:\n', { mode: 0o755 })
  const script = `sleep 600 | ${shim} -d -c | cat & sleep 5; kill %1; :`
  const { stdout, stderr } = await collectResult(startTrace(['--json'], ['bash', '-m', writePodman('script', script)]))
  assert.equal((JSON.parse(stdout || assert.fail(stderr)) as Summary).layers, 1)
})

test('with --json the stdout of the command goes to stderr, and stdout is one document', row, async () => {
  const { stdout, stderr } = await collectResult(startTrace(['--json'], ['sh', '-c', 'echo hello; echo {; exit 0']))
  assert.equal((JSON.parse(stdout) as Summary).status, 0)
  assert.match(stderr, /^hello\n\{\n/)
  const plain = await collectResult(startTrace([], ['sh', '-c', 'echo hello']))
  assert.equal(plain.stdout, 'hello\n')
})

test(
  'a signal is passed on to the command and to what it has started, and who does not hear it is killed: none is left',
  row,
  async () => {
    for (const [name, signal, status] of [
      ['term', 'SIGTERM', 143],
      ['hup', 'SIGHUP', 129],
      ['int', 'SIGINT', 130],
    ] as const) {
      // On a machine that is too busy for the shell to do what it wants to in that time it is killed, too.
      let isHeard = false
      for (let tries = 1; tries <= 3 && !isHeard; tries++)
        isHeard = await endTrace(join(directory, `${name}-${tries}`), signal, status)
      assert.ok(isHeard, name)
    }
  },
)

/** @returns whether the command has heard the signal: none of it is there any more in any case */
async function endTrace(file: string, signal: NodeJS.Signals, status: number): Promise<boolean> {
  // One of its children does not listen.
  const script = `trap 'echo heard >${file}.heard; exit 1' TERM HUP INT
    sleep 600 & sh -c 'trap "" TERM HUP INT; while :; do sleep 0.2; done' & echo $$ $! $(jobs -p) >${file}.new; mv ${file}.new ${file}; wait; wait`
  const trace = startTrace([], ['bash', '-c', script])
  const said = listen(trace)
  await waitUntil('all run', 30_000, () => existsSync(file))
  await sleep(300)
  trace.kill(signal)
  const [ended] = await once(trace, 'close')
  assert.equal(ended, status, said())
  const pids = readFileSync(file, 'utf8').trim().split(/\s+/)
  assert.ok(pids.length >= 3)
  await waitUntil(`none of ${pids} is left`, 10_000, () => !pids.some(isThere))
  return existsSync(`${file}.heard`)
}

/** What is called dockerd, listens on a socket, and downloads a layer; and one more for each line that it is sent. */
const daemon = `
  use Socket;
  my ($base) = @ARGV;
  open(my $comm, '>', '/proc/self/comm'); print $comm 'dockerd'; close $comm;
  socket(my $socket, PF_UNIX, SOCK_STREAM, 0); bind($socket, sockaddr_un("$base/s")) or die $!; listen($socket, 9);
  my @files;
  sub add { my $number = @files + 1; open(my $file, '>', "$base/GetImageBlob$number") or die $!; $file->autoflush(1); push @files, $file }
  use IO::Handle; add(); $| = 1; print "ready\\n";
  for (;;) {
    print $_ 'x' x 100_000 for @files;
    my $in = ''; vec($in, 0, 1) = 1;
    next unless select($in, undef, undef, 0.1);
    defined(my $line = readline STDIN) or exit; add();
  }
`

test('what the engine had under way before is not the command’s, and what it begins then is', row, async () => {
  const base = mkdtempSync(join(directory, 'daemon-'))
  const engine = spawn('perl', ['-e', daemon, base], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    await once(engine.stdout, 'data')
    const command = ['sh', '-c', 'sleep 3', 'sh', `unix://${base}/s`]
    const look = async (during: () => void) => {
      const result = collectResult(startTrace(['--json'], command))
      await sleep(1500)
      during()
      const { stdout, stderr } = await result
      return JSON.parse(stdout || assert.fail(stderr)) as Summary
    }
    const idle = await look(() => {})
    assert.deepEqual([idle.times.downloading, idle.others.leftOut], [0, 1])
    const busy = await look(() => engine.stdin.write('\n'))
    assert.equal(busy.others.leftOut, 1)
    assert.ok(busy.times.downloading > 0)
  } finally {
    engine.stdin.end()
    await once(engine, 'exit')
  }
})
