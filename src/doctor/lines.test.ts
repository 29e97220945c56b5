import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { findLines } from './lines.ts'

interface Made {
  readonly pid: number
  readonly parent: number
  readonly name: string
  readonly args?: readonly string[]
  /** What its descriptors are open on. */
  readonly open?: readonly string[]
  readonly mounts?: string
}

/** The decompressors that are found to work for an engine. @param open what the engine itself has open */
function filtersBelow(open: readonly string[], made: readonly Made[]): (number | undefined)[] {
  const all: Made[] = [{ pid: 7, parent: 1, name: 'podman', open }, ...made]
  const files = all.flatMap(({ pid, parent, name, args = [name] }) => [
    [`/proc/${pid}/stat`, `${pid} (${name}) S ${parent} ${pid} ${pid} ${'0 '.repeat(13)}1 0 100 ${'0 '.repeat(20)}`],
    [`/proc/${pid}/cmdline`, args.map(arg => `${arg}\0`).join('')],
  ])
  const links = all.flatMap(({ pid, open = [], mounts = 'mnt:[1]' }) => [
    ...open.map((target, fd) => [`/proc/${pid}/fd/${fd}`, target]),
    [`/proc/${pid}/ns/mnt`, mounts],
  ])
  const host = new FixtureHost({ files: Object.fromEntries(files), links: Object.fromEntries(links) })
  const lines = findLines(host, [makeEngine(7, { kind: 'podman' })], readProcessTable(host))
  return lines.map(({ decompressor }) => decompressor[0]?.pid)
}

const args = ['gzip', '-d', '-c']
const [into, from, other, last] = ['pipe:[1]', 'pipe:[2]', 'pipe:[3]', 'pipe:[4]']

test('a decompressor is one of the engine where the engine has an end of its pipes, or has started it itself', () => {
  const gzip = { pid: 8, parent: 7, name: 'gzip', args }
  assert.deepEqual(filtersBelow([into, from], [{ ...gzip, open: [into, from] }]), [8])
  assert.deepEqual(filtersBelow([], [{ ...gzip, open: [into, from] }]), [8])
  const shim = { pid: 8, parent: 7, name: 'sh' }
  assert.deepEqual(filtersBelow([into], [shim, { ...gzip, pid: 9, parent: 8, open: [into, other] }]), [9])
  assert.deepEqual(filtersBelow([], [shim, { ...gzip, pid: 9, parent: 8, open: [other, last] }]), [])
})

test('what a step of a build runs is none of the engine, whatever it is called, and whoever reads what it writes', () => {
  const step = { pid: 10, parent: 9, name: 'gzip', args, open: [other, from] }
  for (const [name, mounts] of [
    ['exe', 'mnt:[2]'],
    ['memfd:buildah-c', 'mnt:[2]'],
    ['buildkit-runc', 'mnt:[1]'],
    ['runc', 'mnt:[1]'],
  ] as const) {
    const above = [
      { pid: 8, parent: 7, name },
      { pid: 9, parent: 8, name: 'sh', mounts },
    ]
    assert.deepEqual(filtersBelow([from], [...above, { ...step, mounts }]), [], name)
  }
})
