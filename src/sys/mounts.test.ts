import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findMountOf, isUnder, mountFrom, parseMountInfo, readMounts } from './mounts.ts'

const sample = [
  '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
  '23 22 0:21 / /proc rw,nosuid - proc proc rw',
  '80 22 0:50 / /mnt/a\\040b\\134c rw,nodev shared:5 master:2 - overlay windlass:x ro,lowerdir=l/A:l/B',
  '81 22 0:51 / /mnt/ä\\303\\244 ro - tmpfs none ro',
  'garbage',
  '',
].join('\n')

test('mountinfo is read with escapes, optional fields and bytes above 127', () => {
  assert.deepEqual(parseMountInfo(sample).slice(2), [
    {
      ...{ target: '/mnt/a b\\c', device: '0:50', type: 'overlay', source: 'windlass:x' },
      ...{ options: ['rw', 'nodev'], superOptions: ['ro', 'lowerdir=l/A:l/B'] },
    },
    { target: '/mnt/ää', device: '0:51', options: ['ro'], type: 'tmpfs', source: 'none', superOptions: ['ro'] },
  ])
})

test('a path belongs to the mount nearest above it', () => {
  const mounts = parseMountInfo(sample)
  assert.equal(findMountOf('/proc/self', mounts)?.type, 'proc')
  assert.equal(findMountOf('/process', mounts)?.type, 'ext4')
  assert.equal(isUnder('/a/bc', '/a/b'), false)
  assert.equal(isUnder('/a', '/'), true)
})

test('a failed mount tells its errno, and the process stays where it was', async () => {
  const cwd = process.cwd()
  const call = { directory: '/', source: 'x', target: '/proc/none', type: 'tmpfs', flags: 0, data: '' }
  await assert.rejects(mountFrom(call), { code: 'ENOENT', syscall: 'mount' })
  assert.equal(process.cwd(), cwd)
  assert.equal(
    readMounts().some(mount => mount.target === '/proc'),
    true,
  )
})
