import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { makeEngine } from '../../test/checked.ts'
import { LiveHost } from '../sys/host-view.ts'
import { collectorScript } from './collector.ts'
import { findDownloads } from './downloads.ts'

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'windlass-ingests-')))
after(() => rmSync(directory, { recursive: true, force: true }))
const secret = join(directory, 'secret')
writeFileSync(secret, 'hunter2\n')
const number = join(directory, 'number')
writeFileSync(number, '271828\n')
const layer = `default/7/layer-sha256:${'0a'.repeat(32)}`

/** What stands beside the data of a layer: text, or what `→` leads to. */
const cases: readonly (readonly [name: string, ref: string, total: string])[] = [
  ['fine', layer, '9000'],
  ['sent', `default/1/tar-blobs/sha256/${'0a'.repeat(32)}`, '9000'],
  ['named', `default/7/index-registry.example.com/a:1@sha256:${'0a'.repeat(32)}`, '9000'],
  ['linked', `→${secret}`, `→${number}`],
  ['other', 'hunter2', 'hunter2'],
  ['many-lines', `${layer}\nhunter2`, '9000\nhunter2'],
  ['waiting', '|', '|'],
]

/** This process does for an engine: it holds the data of a layer open, as anybody may whose program has such a name. */
test('of what anybody may put beside a layer that is downloaded only what belongs there is told', async () => {
  for (const [name, ref, total] of cases) {
    const at = join(directory, 'ingest', name)
    mkdirSync(at, { recursive: true })
    put(join(at, 'ref'), ref)
    put(join(at, 'total'), total)
    await using data = await open(join(at, 'data'), 'w')
    await data.write('some')
    const host = new LiveHost()
    const [found, ...more] = await findDownloads(host, makeEngine(process.pid, { kind: 'containerd' }))
    assert.deepEqual(more, [])
    assert.equal(found?.path, join(at, 'data'))
    const isFine = name === 'fine'
    const isWhole = isFine || name === 'sent' || name === 'named'
    assert.deepEqual([found.reference, found.total], [isFine ? layer : undefined, isWhole ? 9000 : undefined], name)
    assert.equal(found.isSent, name === 'sent' || name === 'other' || name === 'many-lines', name)
    assert.deepEqual([...host.disk.silent], [], name)
    const told = runFunction(`at=${at}; tell_ingest`)
    if (name === 'fine') assert.equal(told, `x${at}/total\nb9000\nx${at}/ref\nb${layer}\n`)
    else if (name === 'sent') assert.equal(told, `x${at}/total\nb9000\nx${at}/ref\nbother\n`)
    else assert.doesNotMatch(told, /hunter2|271828/)
  }
})

test('a layer that the engine only reads from is one that it goes on with', async () => {
  const at = join(directory, 'ingest', 'left')
  mkdirSync(at, { recursive: true })
  put(join(at, 'ref'), layer)
  put(join(at, 'total'), '9000')
  writeFileSync(join(at, 'data'), 'some')
  const isReread = async () => {
    const found = await findDownloads(new LiveHost(), makeEngine(process.pid, { kind: 'containerd' }))
    return found.map(download => download.isReread)
  }
  await using data = await open(join(at, 'data'), 'r')
  assert.deepEqual(await isReread(), [true])
  await data.close()
  await using writer = await open(join(at, 'data'), 'a')
  assert.deepEqual(await isReread(), [false])
  await writer.close()
})

test('of resolv.conf the collector tells the servers and how they are asked', () => {
  const file = join(directory, 'resolv.conf')
  const lines = [
    '# hunter2',
    'nameserver 192.0.2.1 # hunter2',
    'nameserver fe80::1%eth0',
    'root:$6$hunter2:1:',
    'options ndots:5',
  ]
  writeFileSync(file, `${lines.join('\n')}\nsearch a.example b.example\nhunter2 nameserver\n`)
  const told = ['nameserver 192.0.2.1 ', 'nameserver fe80::1%eth0', 'options ndots:5', 'search a.example b.example']
  assert.equal(runFunction(`tell_servers ${file}`), `${[`x${file}`, ...told.map(line => `b${line}`)].join('\n')}\n`)
})

test('of mounts the collector hides the passwords, also of those that are nobody’s', () => {
  const source = 'curlftpfs#ftp://bob:hunter2@ftp.example.com/'
  const own = ['unshare', '--user', '--map-root-user', '--mount']
  const mount = `mount -t tmpfs '${source}' ${directory}; tell_mounts self; tell_mounts $$`
  const told = runFunction(mount, own)
  assert.equal(told.match(/ftp:\/\/…@ftp\.example\.com\//g)?.length, 2, told)
  assert.doesNotMatch(told, /hunter2/)
})

test('the collector asks no socket through a link where anybody may have made it', () => {
  const place = join(directory, 'sockets')
  mkdirSync(place)
  symlinkSync(secret, join(place, 'link'))
  symlinkSync('/', join(place, 'above'))
  put(join(place, 'plain'), 'hunter2')
  const told = (user: number, root: string, path: string) =>
    runFunction(
      `refused=refused; curl() { echo "$5"; }; listens() { true; }; users_of() { echo 0 ${user}; }; root=${root}; fetch 1 ${path} /x`,
    )
  // Whose process is root's and beside us may have its socket where it likes, as long as nobody else can put another there.
  assert.equal(told(0, '', `${place}/link`), `${secret}\n`)
  const own = statSync(place).uid
  assert.equal(told(own, place, '/plain'), `${place}/plain\n`)
  assert.equal(told(own + 1, place, '/plain'), 'refused\n')
  assert.equal(told(own + 1, '', `${place}/plain`), 'refused\n')
  for (const path of ['/link', '/above/etc']) assert.equal(told(own, place, path), 'refused\n', path)
  chmodSync(place, 0o777)
  assert.equal(told(0, '', `${place}/plain`), 'refused\n')
  assert.equal(told(0, place, '/plain'), 'refused\n')
  chmodSync(place, 0o755)
})

test('of files of which nothing is told the collector says so once, and goes on with the others', () => {
  const stat = 'for path; do case $path in */dead) sleep 4 ;; *) echo "s1 2 81a4 3 $path" ;; esac; done'
  const told = runFunction(
    `facts_of_files() { ${stat}; }; facts_of_downloads /a /dead /b; facts_of_downloads /a /dead /b`,
  )
  const [a, b] = ['s1 2 81a4 3 /a', 's1 2 81a4 3 /b']
  assert.equal(told, `${[a, '?/dead', b, a, b].join('\n')}\n`)
})

function put(path: string, what: string): void {
  if (what === '|') assert.equal(spawnSync('mkfifo', [path]).status, 0)
  else if (what.startsWith('→')) symlinkSync(what.slice(1), path)
  else writeFileSync(path, what)
}

/** Of the collector one function alone, in each shell. */
function runFunction(call: string, within: readonly string[] = []): string {
  const script = collectorScript().replace(/^main <.*$/m, () => call)
  const said = [['dash'], ['busybox', 'sh']].map(shell => {
    const [file = '', ...args] = [...within, ...shell]
    const { status, stdout } = spawnSync(file, args, { input: script, timeout: 60_000 })
    assert.equal(status, 0)
    return stdout.toString()
  })
  if (within.length === 0) assert.equal(said[1], said[0])
  return said.at(-1) ?? ''
}
