import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { test } from 'node:test'
import { FixtureHost } from '../../../test/fixture-host.ts'
import type { PipeFill } from '../../sys/host-view.ts'
import { pipe2, pipeSize } from '../../sys/libc.ts'
import { readProcessTable } from '../../sys/process-files.ts'
import { listEngines } from '../engines.ts'
import { findLines } from '../lines.ts'
import { readSubject } from './subject.ts'

/** Of no process that is there. */
const base = 4_200_000

interface Made {
  readonly name: string
  readonly parent?: number
  readonly start: number
  readonly args?: readonly string[]
  readonly fds?: Readonly<Record<number, string>>
  /** IDs of the mounts that its files are in. */
  readonly mounts?: Readonly<Record<number, number>>
  /** It has mounts of its own, whose root has this ID. */
  readonly root?: number
  readonly uid?: number
  /** Bytes that it wrote. */
  readonly written?: number
}

class MadeHost extends FixtureHost {
  readonly fills: Record<string, PipeFill> = {}
  override pipeFill(path: string): PipeFill | undefined {
    return this.fills[path]
  }
}

function makeHost(all: readonly Made[], environ = 'PATH=/usr/bin\0', libraries: readonly string[] = []): MadeHost {
  const files: Record<string, string> = {}
  const links: Record<string, string> = {}
  for (const [at, one] of all.entries()) {
    const pid = base + at
    const own = `/proc/${pid}`
    files[`${own}/stat`] =
      `${pid} (${one.name}) S ${one.parent === undefined ? 1 : base + one.parent} ${'0 '.repeat(17)}${one.start} 0 0\n`
    files[`${own}/status`] = `Uid:\t${one.uid ?? 0}\t${one.uid ?? 0}\t0\t0\nTracerPid:\t0\n`
    files[`${own}/cmdline`] = `${(one.args ?? [one.name]).join('\0')}\0`
    files[`${own}/environ`] = environ
    files[`${own}/maps`] = libraries.map(path => `7f00-7f01 r-xp 00000000 08:01 7    ${path}\n`).join('')
    links[`${own}/cwd`] = '/app'
    files[`${own}/io`] = `rchar: 5000\nwchar: ${one.written ?? 0}\n`
    links[`${own}/exe`] = `/usr/bin/${one.name}`
    const isolated = one.root === undefined ? 'mnt:[1]' : `mnt:[${base + at}]`
    links[`${own}/ns/mnt`] = isolated
    links[`${own}/task/${pid}/ns/mnt`] = isolated
    files[`${own}/task/${pid}/mountinfo`] =
      `20 1 8:1 / ${one.root === undefined ? '/' : '/host'} rw - ext4 x rw\n${one.root ?? 21} 20 8:1 /a ${one.root === undefined ? '/proc' : '/'} rw - ext4 x rw\n`
    for (const [fd, target] of Object.entries(one.fds ?? {})) {
      links[`${own}/fd/${fd}`] = target
      const flags = target.startsWith('pipe:') && fd === '0' ? '0' : '01'
      files[`${own}/fdinfo/${fd}`] = `pos:\t700\nflags:\t${flags}\nmnt_id:\t${one.mounts?.[Number(fd)] ?? 20}\n`
    }
  }
  return new MadeHost({ files, links })
}

function subjectsOf(host: MadeHost, options: Parameters<typeof readSubject>[3] = {}) {
  const table = readProcessTable(host)
  return findLines(host, listEngines(host, table), table)
    .filter(({ decompressor }) => decompressor.length > 0)
    .map(line => readSubject(host, line, table, options))
}

const layerId = 'a'.repeat(64)

function unpigz(at: number, start: number, more: Partial<Made> = {}): Made {
  const fds = { 0: `pipe:[${at}0]`, 1: `pipe:[${at}1]`, 2: '/dev/null' }
  return { name: 'unpigz', parent: 0, start, args: ['/usr/bin/unpigz', '-d', '-c'], fds, written: 5000, ...more }
}

function untar(at: number, start: number, file: string): Made {
  const fds = { 0: `pipe:[${at}9]`, 5: file }
  return { name: 'exe', parent: 0, start, args: ['docker-applyLayer', '/'], fds, mounts: { 5: 90 + at }, root: 90 + at }
}

test('what an engine has open elsewhere than where it unpacks tells no position, whatever it is called', () => {
  const root = '/var/lib/containerd'
  const fds = {
    3: `${root}/io.containerd.metadata.v1.bolt/meta.db`,
    4: `${root}/io.containerd.snapshotter.v1.overlayfs/metadata.db`,
    5: `${root}/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs/etc/passwd`,
    6: `${root}/tmpmounts/containerd-mount123/etc/group`,
    7: `/srv/host${root}/io.containerd.content.v1.content/ingest/1/data`,
    8: `/var/lib/docker/containers/${layerId}/${layerId}-json.log`,
    9: `/var/lib/docker/overlay2/${layerId}/diff/etc/hosts`,
  }
  const [subject] = subjectsOf(makeHost([{ name: 'containerd', start: 1, fds }, unpigz(1, 5)]))
  assert.deepEqual(subject?.files.map(({ path }) => path.replace(/.*\//, '')).sort(), ['group', 'hosts', 'passwd'])
})

test('a thread or process with a root of its own unpacks into that: what it has open elsewhere is not looked at', () => {
  const child = untar(2, 6, '/etc/passwd')
  const leaked = { ...child, fds: { ...child.fds, 6: '/var/log/passwd' } }
  const [subject] = subjectsOf(makeHost([{ name: 'dockerd', start: 1 }, unpigz(1, 5), leaked]))
  assert.deepEqual(
    subject?.files.map(({ path }) => path),
    ['/etc/passwd'],
  )
})

test('where an engine has several untars nobody can tell whose is whose: the files of all come into question', () => {
  const all = [
    ...[{ name: 'dockerd', start: 1 }, unpigz(1, 5), unpigz(2, 6)],
    ...[untar(3, 7, '/of-the-second'), untar(4, 8, '/of-the-first')],
  ]
  for (const { files } of subjectsOf(makeHost(all)))
    assert.deepEqual(files.map(({ path }) => path).sort(), ['/of-the-first', '/of-the-second'])
})

test('and what waits for any of them may be its own, unless the count alone tells how much it gave', () => {
  const withLog = { 0: 'pipe:[10]', 1: 'pipe:[11]', 2: '/dev/null', 3: '/var/log/x' }
  const inFlightOf = (name: string) => {
    const filter = unpigz(1, 5, { name, fds: withLog })
    const host = makeHost([{ name: 'dockerd', start: 1 }, filter, unpigz(2, 6), untar(3, 7, '/a'), untar(4, 8, '/b')])
    host.fills[`/proc/${base + 4}/fd/0`] = { bytes: 100, size: 65_536 }
    return subjectsOf(host)[0]?.inFlight
  }
  assert.deepEqual([inFlightOf('perl'), inFlightOf('unpigz')], [100, 0])
})

test('who runs as somebody else is no subject, nor is one whose output was replaced', () => {
  const engine = { name: 'dockerd', start: 1 }
  const refusals = [
    [{ ...engine, uid: 65_534 }, unpigz(1, 5)],
    [engine, unpigz(1, 5, { uid: 65_534 })],
  ]
  for (const all of refusals) assert.throws(() => subjectsOf(makeHost(all)), { code: 'RESCUE_FOREIGN' })
  const host = makeHost([engine, unpigz(1, 5)])
  const table = readProcessTable(host)
  const [line] = findLines(host, listEngines(host, table), table)
  const replaced = makeHost([engine, unpigz(1, 5, { fds: { 0: 'pipe:[10]', 1: '/etc/shadow', 2: '/dev/null' } })])
  assert.ok(line !== undefined)
  assert.throws(() => readSubject(replaced, line, table), { code: 'RESCUE_MOVES' })
})

test('an output with the room that a rescue gives it is told from one that nobody has touched', () => {
  const isMarked = (size: number) => {
    const host = makeHost([{ name: 'dockerd', start: 1 }, unpigz(1, 5)])
    host.fills[`/proc/${base + 1}/fd/1`] = { bytes: 0, size }
    return subjectsOf(host)[0]?.isMarked
  }
  const { readEnd, writeEnd } = pipe2()
  const untouched = pipeSize(readEnd)
  for (const end of [readEnd, writeEnd]) closeSync(end)
  assert.deepEqual([untouched, untouched / 2, 2 << 20].map(isMarked), [false, true, true])
})

test('what its environment, or that of its loader, makes say more is known to complain', () => {
  const mayComplain = (environ: string, known?: boolean) => {
    const host = makeHost([{ name: 'dockerd', start: 1 }, unpigz(1, 5)], environ)
    return subjectsOf(host, { mayComplain: known ?? false })[0]?.mayComplain
  }
  const environments = ['PATH=/usr/bin', 'PATH=/usr/bin\0LD_PRELOAD=/nowhere.so', 'GZIP=-v', 'XLD_PRELOAD=/nowhere.so']
  assert.deepEqual(
    environments.map(text => mayComplain(`${text}\0`)),
    [false, true, true, false],
  )
  assert.equal(mayComplain('PATH=/usr/bin\0', true), true)
})

test('a place for libraries makes nobody complain as long as none comes from there', () => {
  const mayComplain = (places: string, libraries: readonly string[]) => {
    const host = makeHost([{ name: 'containerd', start: 1 }, unpigz(1, 5)], `LD_LIBRARY_PATH=${places}\0`, libraries)
    return subjectsOf(host)[0]?.mayComplain
  }
  const libraries = ['/usr/bin/unpigz', '/usr/lib/libz.so.1', '/app/libm.so.6']
  assert.equal(mayComplain('/opt/containerd/lib', libraries), false)
  assert.equal(mayComplain('/opt/containerd/lib:/usr/lib', libraries), true)
  assert.equal(mayComplain('/opt/containerd/lib:', libraries), true, 'the working directory')
  assert.equal(mayComplain('lib', ['/app/lib/libz.so.1']), true)
})
