/** What was seen of the pulls of a real CRI-O 1.37 with crictl, in /proc and on its socket. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { codesOf, makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { findClientPulls } from './clients.ts'
import { findLines } from './lines.ts'
import { examinePulls } from './pulls.ts'

const stat = (pid: number, name: string, parent: number) =>
  `${pid} (${name}) S ${parent} ${pid} ${pid} ${'0 '.repeat(13)}1 0 100 ${'0 '.repeat(20)}`
const staged = '/var/lib/containers/storage/overlay/tempdirs/temp-dir-471291987/0-addition/diff'
const socket = '/run/crio/crio.sock'
const { process: owner } = makeEngine(7)
const crio = makeEngine(7, {
  kind: 'crio',
  args: ['/usr/bin/crio'],
  process: { ...owner, name: 'crio' },
  sockets: [socket],
})
const own = process.getuid?.() ?? 0
const program = (pid: number, name: string, parent: number, args: readonly string[]) => ({
  [`/proc/${pid}/stat`]: stat(pid, name, parent),
  [`/proc/${pid}/task/${pid}/stat`]: stat(pid, name, parent),
  [`/proc/${pid}/cmdline`]: `${args.join('\0')}\0`,
  [`/proc/${pid}/status`]: `Uid:\t${own}\t${own}\t${own}\t${own}\n`,
  [`/proc/${pid}/environ`]: '',
})
const alone = program(7, 'crio', 1, ['/usr/bin/crio'])
const crictl = (...args: readonly string[]) => program(9, 'crictl', 1, ['crictl', ...args])

test('its pigz and its untar are one line, whose target is the directory that the untar was given open', () => {
  const host = new FixtureHost({
    files: {
      ...alone,
      ...program(11, 'pigz', 7, ['/usr/bin/pigz', '-d']),
      ...program(12, 'exe', 7, ['storage-untar', '/', '/proc/self/fd/4']),
      '/proc/7/fdinfo/32': 'pos:\t0\nflags:\t0100001\n',
    },
    links: {
      '/proc/7/fd/32': 'pipe:[101]',
      '/proc/7/fd/35': 'pipe:[102]',
      '/proc/11/fd/0': 'pipe:[101]',
      '/proc/11/fd/1': 'pipe:[102]',
      '/proc/12/fd/0': 'pipe:[103]',
      '/proc/12/fd/4': staged,
    },
  })
  const lines = findLines(host, [crio], readProcessTable(host))
  const told = lines.map(({ program, decompressor, untar, target, isFed }) => ({
    program,
    pids: [decompressor[0]?.pid, untar?.pid],
    target,
    isFed,
  }))
  assert.deepEqual(told, [{ program: 'pigz', pids: [11, 12], target: staged, isFed: true }])
})

test('a crictl that pulls waits for a CRI-O, or for a containerd: its socket tells for which', async () => {
  const clientsOf = async (kind: 'crio' | 'containerd', ...args: readonly string[]) => {
    const host = new FixtureHost({ files: { ...alone, ...crictl(...args) } })
    const found = await findClientPulls(host, { kind, sockets: [socket], process: owner })
    return found.map(({ text }) => text)
  }
  for (const kind of ['crio', 'containerd'] as const) {
    assert.deepEqual(await clientsOf(kind, 'pull', 'host/app:1'), ['host/app:1'])
    assert.deepEqual(await clientsOf(kind, '-r', `unix://${socket}`, 'pull', 'host/app:1'), ['host/app:1'])
    assert.deepEqual(await clientsOf(kind, '-r', 'unix:///run/other.sock', 'pull', 'host/app:1'), [])
    assert.deepEqual(await clientsOf(kind, 'images'), [])
  }
})

test('as long as a client waits it is not said that nobody pulls, whatever is to be seen', async () => {
  const codes = async (files: Readonly<Record<string, string>>) => {
    const host = new FixtureHost({ files: { ...alone, ...files } })
    const { findings } = await examinePulls(host, [crio], { signal: AbortSignal.timeout(60_000) })
    return codesOf(findings)
  }
  assert.deepEqual(await codes(crictl('pull', 'host/app:1')), ['PULL_WAITS'])
  assert.deepEqual(await codes(crictl('images')), ['NO_PULL'])
})
