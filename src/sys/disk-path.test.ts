import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { LiveHost } from './host-view.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-places-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const secret = join(directory, 'secret')
writeFileSync(secret, 'hunter2')

test('symlinks below the root of a process lead on within it, and none leads out', async () => {
  const root = join(directory, 'root')
  mkdirSync(join(root, 'etc'), { recursive: true })
  mkdirSync(join(root, 'run/name'), { recursive: true })
  writeFileSync(join(root, 'run/name/servers'), 'its own')
  writeFileSync(join(root, 'secret'), 'its own, too')
  const links = {
    'etc/absolute': '/run/name/servers',
    'etc/relative': '../run/./name/servers',
    'etc/through': 'directory/servers',
    'etc/directory': '/run/name',
    'etc/climbing': '../../../../../../secret',
    'etc/out': secret,
    'etc/self': 'self',
  }
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(root, name))
  const says = 'chroot $ARGV[0] or die $!; $| = 1; print "in\\n"; readline STDIN'
  const child = spawn('unshare', ['--user', '--map-root-user', 'perl', '-e', says, root], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
    const { disk } = new LiveHost()
    const at = `/proc/${child.pid}/root`
    for (const name of ['absolute', 'relative', 'through'])
      assert.equal(await disk.text(`${at}/etc/${name}`), 'its own', name)
    assert.equal((await disk.file(`${at}/etc/absolute`))?.size, 7)
    assert.deepEqual(await disk.names(`${at}/etc/directory/`), ['servers'])
    assert.ok(((await disk.filesystem(at))?.bytesTotal ?? 0) > 0)
    assert.equal(await disk.text(`${at}/etc/climbing`), 'its own, too')
    for (const name of ['out', 'self', 'missing']) assert.equal(await disk.text(`${at}/etc/${name}`), undefined, name)
    assert.deepEqual([...disk.silent], [])
  } finally {
    child.stdin.end()
    await once(child, 'exit')
  }
})

test('a path as the kernel tells it has no symlink in it', async () => {
  const { disk } = new LiveHost()
  symlinkSync(secret, join(directory, 'last'))
  symlinkSync(directory, join(directory, 'above'))
  assert.equal(await disk.text(secret, { isPlain: true }), 'hunter2')
  assert.equal(await disk.text(join(directory, 'last')), 'hunter2')
  for (const name of ['last', 'above/secret'])
    assert.equal(await disk.text(join(directory, name), { isPlain: true }), undefined, name)
})

test('what is no file is not opened for what is in it, and nobody waits for it', async () => {
  const { disk } = new LiveHost()
  const fifo = join(directory, 'fifo')
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0)
  for (const path of [fifo, '/dev/zero', directory]) {
    assert.equal(await disk.text(path), undefined, path)
    assert.equal(await disk.digest(path), undefined, path)
  }
  assert.deepEqual([...disk.silent], [])
  const large = join(directory, 'large')
  writeFileSync(large, Buffer.alloc(2 * 1024 * 1024))
  assert.equal(await disk.text(large), undefined)
  assert.match((await disk.digest(secret)) ?? '', /^sha256:[0-9a-f]{64}$/)
})

/** Answers every request with its own name. */
async function listenAt(path: string, name: string): Promise<AsyncDisposable> {
  const server = createServer((_, response) => response.end(name)).listen(path)
  await once(server, 'listening')
  return {
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

test('a socket below the root of a process is one within it, whatever symlink is in its place', async () => {
  const root = join(directory, 'sockets')
  mkdirSync(join(root, 'run'), { recursive: true })
  await using outside = await listenAt(join(directory, 'outside'), 'outside')
  await using inside = await listenAt(join(root, 'run/inside'), 'inside')
  symlinkSync(join(directory, 'outside'), join(root, 'run/out'))
  symlinkSync('/run', join(root, 'var'))
  symlinkSync('../../outside', join(root, 'run/up'))
  const says = 'chroot $ARGV[0] or die $!; $| = 1; print "in\\n"; readline STDIN'
  const child = spawn('unshare', ['--user', '--map-root-user', 'perl', '-e', says, root], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
    const host = new LiveHost()
    const ask = async (socket: string) => (await host.ask(`/proc/${child.pid}/root${socket}`, '/'))?.body
    assert.deepEqual(await Promise.all(['/run/inside', '/var/inside'].map(ask)), ['inside', 'inside'])
    assert.deepEqual(await Promise.all(['/run/out', '/run/up', '/run/none'].map(ask)), [
      undefined,
      undefined,
      undefined,
    ])
    assert.ok(outside !== inside)
  } finally {
    child.stdin.end()
    await once(child, 'exit')
  }
})

test('where a process may be anybody’s, only a socket of its user is asked', async () => {
  const path = join(directory, 'of-us')
  await using server = await listenAt(path, 'ours')
  symlinkSync(path, join(directory, 'link-to-us'))
  const host = new LiveHost()
  const own = process.geteuid?.() ?? 0
  for (const socket of [path, join(directory, 'link-to-us')]) {
    assert.equal((await host.ask(socket, '/'))?.body, 'ours')
    assert.equal((await host.ask(socket, '/', { owner: own }))?.body, 'ours')
    assert.equal(await host.ask(socket, '/', { owner: own + 1 }), undefined)
  }
  assert.equal(await host.ask(secret, '/'), undefined)
  assert.ok(server)
})
