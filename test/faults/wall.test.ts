/** The wall of the unpack threads, as the kernel sees it: what a walled thread does once it is in, and where all the other threads stand meanwhile. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { collectResult, runCommand, waitUntil } from '../testbed/command.ts'
import { assertSound } from './aftermath.ts'
import { steadyEnvironment, windlassCommand } from './death.ts'
import { holdBack, type MadeLayer, makeDirectory, makeFile, makeLayer, makeManyFiles, serveImage } from './image.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-wall-'))
after(() => rmSync(directory, { recursive: true, force: true }))

function pullCommand(root: string, reference: string): string[] {
  return windlassCommand('--root', root, '--quiet', 'pull', '--platform', 'linux/amd64', reference)
}

/** What a loader, a resolver of names or users, or a C library would look for: all of it the image's own, if it were opened after the chroot. */
const bait = [
  'etc/ld.so.cache',
  'etc/ld.so.preload',
  'etc/nsswitch.conf',
  'etc/passwd',
  'etc/group',
  'etc/hosts',
  'etc/localtime',
  'lib/x86_64-linux-gnu/libnss_files.so.2',
  'lib/aarch64-linux-gnu/libnss_files.so.2',
  'lib64/libc.so.6',
  'usr/lib/locale/locale-archive',
  'usr/bin/unpigz',
  'package.json',
  'node_modules/koffi/index.js',
]

/** Everything an unpack does, with names, owners and times that ask for text and tables; and a layer that is refused in its middle. */
const rich = makeLayer([
  makeDirectory('etc'),
  ...bait.map(name => makeFile(name, 'evil')),
  {
    ...makeFile('caf\u00e9/\ud83d\ude80', 'x'),
    uid: 1234,
    gid: 5678,
    pax: { mtime: '1700000000.5', 'SCHILY.xattr.user.a': 'b' },
  },
  { name: 'link', typeflag: '1', linkname: 'etc/passwd' },
  { name: 'symlink', typeflag: '2', linkname: '/etc/passwd', mode: 0o777 },
  { name: 'null', typeflag: '3', devmajor: 1, devminor: 3 },
  { name: 'fifo', typeflag: '6' },
  makeFile('etc/.wh.hosts'),
  makeFile('etc', 'in place of a directory'),
])
const refused = makeLayer([
  makeFile('a', 'x'),
  { ...makeFile('\u001b[31mevil'), uid: 2 ** 31 },
  { name: 'x', typeflag: 'Z' },
])

interface Call {
  readonly tid: string
  readonly text: string
}

/** Every call of the kinds by which something is opened, loaded or started. */
async function trace(command: readonly string[]): Promise<{ calls: Call[]; status: number | null; stderr: string }> {
  const file = join(directory, 'trace')
  const kinds = [
    'chroot,open,openat,openat2,open_by_handle_at,execve,execveat,mmap,clone,clone3,fork,vfork',
    'io_uring_setup,io_uring_enter,socket,connect,memfd_create,uselib',
  ]
  const known = kinds
    .join(',')
    .split(',')
    .map(call => `?${call}`)
  const options = ['-f', '-qq', '--seccomp-bpf', '-o', file, '-e', `trace=${known.join(',')}`]
  const { status, stderr } = await runCommand('strace', [...options, ...command], { env: steadyEnvironment })
  const calls = readFileSync(file, 'latin1')
    .split('\n')
    .flatMap(line => {
      const [, tid = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
      return /^(\+\+\+|---|<\.\.\.)/.test(text) || text === '' ? [] : [{ tid, text }]
    })
  return { calls, status, stderr }
}

/**
 * Names are walked by O_PATH, through which nothing can be read; directories are listed, what is made is made anew; memory without a file is the heap's. Nothing
 * else is the business of this thread.
 */
function isUnpacking(text: string): boolean {
  if (text.startsWith('openat(')) return /O_PATH|O_RDONLY\|.*O_DIRECTORY|O_WRONLY\|O_CREAT\|O_EXCL/.test(text)
  return text.startsWith('mmap(') && /MAP_ANONYMOUS[^,]*, -1, 0/.test(text)
}

for (const [name, layers, wanted] of [
  ['unpacks', [rich], 0],
  ['is refused', [rich, refused], 6],
] as const)
  test(`a layer that ${name} opens no file, loads nothing and starts nothing from behind the wall`, {
    timeout: 60_000,
  }, async () => {
    await using image = await serveImage(layers)
    const { calls, status, stderr } = await trace(pullCommand(join(directory, `store-${wanted}`), image.reference))
    assert.equal(status, wanted, stderr)
    const walls = calls.flatMap(({ tid, text }, at) => (text.startsWith('chroot(') ? [{ tid, at }] : []))
    assert.equal(walls.length, layers.length)
    for (const { tid, at } of walls) {
      const behind = calls.slice(at + 1).filter(call => call.tid === tid)
      assert.deepEqual(
        behind.map(({ text }) => text).filter(text => !isUnpacking(text)),
        [],
      )
    }
    const made = calls.filter(({ tid, text }) => walls.some(wall => wall.tid === tid) && text.includes('O_EXCL'))
    assert.ok(made.length >= layers.length, 'the calls that make files were seen')
  })

/** None of a thread that has ended since it was listed. */
function rootOf(task: string): string[] {
  try {
    return [readlinkSync(`${task}/root`)]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

test('while layers are unpacked all threads but those that unpack have the root of the host, and the umask of the process', {
  timeout: 60_000,
}, async () => {
  const gate = Promise.withResolvers<void>()
  const layers: MadeLayer[] = [0, 1].map(at => makeManyFiles(`file-${at}`, 4000 + 7 * at))
  const held = holdBack(8000, gate.promise)
  await using image = await serveImage(layers, { 0: held, 1: held })
  const root = join(directory, 'roots')
  const [program = '', ...args] = pullCommand(root, image.reference)
  const child = spawn(program, args, { env: steadyEnvironment, stdio: ['ignore', 'pipe', 'pipe'] })
  const result = collectResult(child)
  const roots = (): string[] => {
    const tasks = `/proc/${child.pid}/task`
    return readdirSync(tasks).flatMap(tid => rootOf(`${tasks}/${tid}`))
  }
  try {
    await waitUntil('both are behind their walls', 30_000, () => roots().filter(path => path !== '/').length === 2)
    const walled = roots().filter(path => path !== '/')
    assert.ok(
      new Set(walled).size === 2 && walled.every(path => /\/ingest\/[^/]+\/[^/]+\/diff$/.test(path)),
      walled.join(),
    )
    // the main thread, libuv's pool, V8's own threads, the watchdog
    assert.ok(roots().length - 2 >= 5, `${roots().length} threads`)
    assert.equal(readlinkSync(`/proc/${child.pid}/root`), '/')
    assert.match(
      readFileSync(`/proc/${child.pid}/status`, 'utf8'),
      new RegExp(`^Umask:\\t0*${process.umask().toString(8)}$`, 'm'),
    )
  } finally {
    gate.resolve()
  }
  const { status, stderr } = await result
  assert.equal(status, 0, stderr)
  await assertSound(root, 1)
})
