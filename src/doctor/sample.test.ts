import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { FixtureHost } from '../../test/fixture-host.ts'
import { readProcessTable } from '../sys/process-files.ts'
import { findLines } from './lines.ts'
import { LineWatch } from './sample.ts'

/** What an untar is said to work on. @param own what it has open, `inherited` what its engine has at the same numbers */
function entryOf(own: Readonly<Record<number, string>>, inherited: Readonly<Record<number, string>> = {}) {
  const stat = (pid: number, parent: number, name: string) =>
    `${pid} (${name}) S ${parent} ${pid} ${pid} ${'0 '.repeat(13)}1 0 100 ${'0 '.repeat(20)}`
  const descriptors = (pid: number, open: Readonly<Record<number, string>>) =>
    Object.entries(open).map(([fd, target]) => [`/proc/${pid}/fd/${fd}`, target])
  const host = new FixtureHost({
    files: {
      '/proc/7/stat': stat(7, 1, 'podman'),
      '/proc/9/stat': stat(9, 7, 'exe'),
      '/proc/9/cmdline': 'storage-untar\0/\0/home/a/diff\0',
    },
    links: Object.fromEntries([...descriptors(7, inherited), ...descriptors(9, { 0: 'pipe:[1]', ...own })]),
  })
  const [line] = findLines(host, [makeEngine(7, { kind: 'podman' })], readProcessTable(host))
  assert.ok(line)
  const watch = new LineWatch(host, line)
  assert.ok(watch.look())
  return watch.looks[0]?.sample.stages.find(({ kind }) => kind === 'unpack')?.item
}

test('the entry that an untar works on is a file that it has opened itself, not one that it has inherited from its engine', () => {
  assert.equal(entryOf({ 8: '/usr/bin/a' }), '/usr/bin/a')
  // As flock(1) gives a lock to what it runs, and that to all that it starts.
  const lock = { 3: '/run/lock/pull' }
  assert.equal(entryOf({ ...lock, 8: '/usr/bin/a', 9: '/dev/null' }, { ...lock, 8: 'socket:[5]' }), '/usr/bin/a')
  assert.equal(entryOf(lock, lock), undefined)
  assert.equal(entryOf(lock, { 3: '/run/lock/other' }), '/run/lock/pull')
})
