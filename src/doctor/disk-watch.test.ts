import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import type { HostView } from '../sys/host-view.ts'
import { RecordedHost } from '../sys/recorded-host.ts'
import { DiskWatch } from './disk-watch.ts'

const mounts = [
  '21 1 254:0 / / rw - ext4 /dev/vda rw',
  '22 21 254:3 / /var/lib rw - xfs /dev/vdd rw',
  '23 21 0:50 / /mnt rw - btrfs /dev/vde rw',
].join('\n')

/** A host on which the disk 254:3 answers so many reads, writes and flushes in each of the looks. */
function watch(dataRoot: string, answers: readonly number[], periodMs = 1000): DiskWatch {
  let at = 0
  const stats = (count: number) =>
    [`   254 0 vda ${'9 '.repeat(17)}`, ` 254 3 vdd ${count} 0 0 0 ${count} 0 0 0 4 0 0 0 0 0 0 ${count} 0`].join('\n')
  const host = {
    elapsed: () => at * periodMs,
    text: (path: string) => (path === '/proc/diskstats' ? stats(answers[at] ?? 0) : mounts),
  } as Partial<HostView> as HostView
  const found = new DiskWatch(host, makeEngine(7, { dataRoot }))
  for (; at < answers.length; at++) found.look()
  at--
  return found
}

test('what a disk answered in the latest time is told, and how much is before it', () => {
  const found = watch('/var/lib/docker', [1, 5, 5, 6])
  assert.deepEqual(found.over(1000), { name: 'vdd', answered: 3, pending: 4, ms: 1000 })
  assert.deepEqual(found.over(3000), { name: 'vdd', answered: 15, pending: 4, ms: 3000 })
  assert.equal(watch('/var/lib/docker', [5, 5, 5]).over(2000)?.answered, 0)
  // The engine was looked at for a moment longer.
  assert.equal(watch('/var/lib/docker', [5, 5, 5]).over(2300)?.ms, 2000)
})

test('a disk that was looked at a moment later than the process is seen all the same, for as long as it was', () => {
  assert.deepEqual(watch('/var/lib/docker', [5, 5, 5]).over(2100), { name: 'vdd', answered: 0, pending: 4, ms: 2000 })
  assert.equal(watch('/var/lib/docker', [5, 5, 5]).over(2600), undefined)
})

test('what was not seen for so long, or has no counters, tells nothing', () => {
  assert.equal(watch('/var/lib/docker', [1, 2]).over(2000), undefined)
  assert.equal(watch('/mnt/docker', [1, 2]).over(1000), undefined)
  assert.equal(watch('/var/lib/docker', []).over(0), undefined)
})

test('a record tells it, too: its disks change from look to look', async () => {
  const stats = (count: number) => `t/proc/diskstats: 254 3 vdd ${count} 0 0 0 ${count} 0 0 0 4 0 0`
  const look = (second: number) => [`f${second}.0`, 't/proc/7/stat:7 (dockerd) S 1', stats(second)]
  const looks = [1, 2, 3].flatMap(look)
  const facts = [
    'windlass-facts 2',
    '=arch x86_64',
    'x/proc/7/mountinfo',
    ...mounts.split('\n').map(line => `b${line}`),
    ...looks,
    'z',
  ]
  const host = new RecordedHost(facts.join('\n'))
  const found = new DiskWatch(host, makeEngine(7, { dataRoot: '/var/lib/docker' }))
  do found.look()
  while (await host.pause(100, AbortSignal.timeout(60_000)))
  assert.deepEqual(found.over(2000), { name: 'vdd', answered: 4, pending: 4, ms: 2000 })
})
