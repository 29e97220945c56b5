/** Images on their way to a site without a network: in parts, with checksums, and only what is new there. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  appendFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { run, runScript } from '../testbed/command.ts'
import { openWindlass, type Windlass, windlassProgram } from '../testbed/windlass.ts'

const base = 'app.example/base:1'
const other = 'app.example/other:1'
let directory: string
/** Has the images. */
let home: Windlass

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-disk-'))
  home = openWindlass(join(directory, 'home'))
  for (const name of [base, other]) {
    const files = await makeDisk(name.replaceAll('/', '-'))
    await writeFile(join(files, 'content'), randomBytes(150_000))
    await home.run('pack', files, name)
  }
})
after(async () => await rm(directory, { recursive: true, force: true }))

let stores = 0
function newWindlass(): Windlass {
  return openWindlass(join(directory, `store-${++stores}`))
}

async function makeDisk(name: string): Promise<string> {
  const disk = join(directory, `disk-${name}`)
  await mkdir(disk)
  return disk
}

/** An archive in parts of 64 KiB, and the names of its files. */
async function split(name: string): Promise<{ file: string; parts: string[] }> {
  const disk = await makeDisk(name)
  const file = join(disk, 'app.tar')
  await home.run('save', '--split', '64K', '-o', file, base, other)
  const names = (await readdir(disk)).toSorted()
  assert.equal(names.pop(), 'app.tar.sha256')
  assert.ok(names.length > 3, names.join())
  return { file, parts: names.map(part => join(disk, part)) }
}

/** It is refused, says what is wanted, and leaves nothing. */
async function assertRefused(file: string, status: number, message: RegExp): Promise<void> {
  const there = newWindlass()
  const { status: actual, stderr } = await there.try('load', '-i', file)
  assert.equal(actual, status, stderr)
  assert.match(stderr, message)
  assert.equal(await there.run('images', '-q'), '')
}

test('parts are smaller than their size, what sha256sum finds right, and loaded by the first or by the base name', async () => {
  const { file, parts } = await split('parts')
  for (const part of parts) assert.ok((await stat(part)).size < 64 * 1024)
  await run('sha256sum', ['-c', '--quiet', 'app.tar.sha256'], { cwd: join(file, '..') })
  const whole = join(file, '../../whole.tar')
  await home.run('save', '-o', whole, base, other)
  await runScript('cat "$1".[0-9]* | cmp - "$2"', [file, whole])
  for (const name of [file, parts[0] as string]) {
    const there = newWindlass()
    await there.run('load', '-q', '-i', name)
    assert.deepEqual(await idsOf(there), await idsOf(home))
  }
})

async function idsOf(windlass: Windlass): Promise<string[]> {
  return (await windlass.run('images', '-q')).split('\n').toSorted()
}

test('a part that is missing, torn, altered or swapped is named, and nothing is visible', async () => {
  const { file, parts } = await split('damage')
  const [first, second, third] = parts as [string, string, string]
  const last = parts.at(-1) as string
  for (const part of [first, second, last]) {
    await rename(part, `${part}.away`)
    await assertRefused(file, 2, new RegExp(`part ${part} is not there`))
    await rename(`${part}.away`, part)
  }
  await rename(second, `${second}.away`)
  await rename(third, second)
  await rename(`${second}.away`, third)
  await assertRefused(file, 6, new RegExp(`part ${second} is damaged: it holds what app.tar.003 should hold`))
  await rename(second, `${second}.away`)
  await rename(third, second)
  await rename(`${second}.away`, third)
  const bytes = await readFile(second)
  await truncate(second, 1000)
  await assertRefused(first, 6, new RegExp(`part ${second} is damaged: it is torn: it has 1000 bytes`))
  await writeFile(second, bytes)
  await flip(last, 100)
  await assertRefused(file, 6, new RegExp(`part ${last} is damaged: its \\d+ bytes are sha256`))
  await flip(last, 100)
  await rm(`${file}.sha256`)
  await assertRefused(first, 6, /app\.tar\.sha256/)
  await assertRefused(file, 2, /it is not there[\s\S]*app\.tar\.sha256, which names the parts/)
})

async function flip(file: string, at: number): Promise<void> {
  await using handle = await open(file, 'r+')
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, at)
  await handle.write(Buffer.from([(buffer[0] as number) ^ 0xff]), 0, 1, at)
}

test('a checksum beside the archive is checked, replaced with it, and never left behind by another one', async () => {
  const disk = await makeDisk('checksum')
  const file = join(disk, 'app.tar')
  await home.run('save', '--checksum', '--format', 'oci-archive', '-o', file, base)
  await run('sha256sum', ['-c', '--quiet', 'app.tar.sha256'], { cwd: disk })
  await newWindlass().run('load', '-q', '-i', file)
  // Behind the end of the tar, where no digest of an image reaches.
  await appendFile(file, Buffer.alloc(512))
  await assertRefused(file, 6, /are not those of which \S+app\.tar\.sha256 says sha256:/)
  await home.run('save', '--split', '64K', '-o', file, base)
  assert.match(await readFile(`${file}.sha256`, 'utf8'), /app\.tar\.001\n/)
  await home.run('save', '-o', file, base)
  assert.deepEqual(await readdir(disk), ['app.tar'])
  await newWindlass().run('load', '-q', '-i', file)
  // Those of an archive that is not all there are replaced like others.
  const hex = '0'.repeat(64)
  await writeFile(`${file}.sha256`, `${hex}  app.tar.001\n${hex}  app.tar.003\n`)
  await writeFile(`${file}.003`, '')
  await home.run('save', '-o', file, base)
  assert.deepEqual(await readdir(disk), ['app.tar'])
  await writeFile(`${file}.sha256`, `${hex}  other.tar\n`)
  await assertRefused(file, 6, /does not name it/)
})

test('what is no file in place of a part or of the checksums is refused, and not waited for', async () => {
  const { file, parts } = await split('fifo')
  const [, second] = parts as [string, string]
  for (const path of [second, `${file}.sha256`]) {
    await rename(path, `${path}.away`)
    await run('mkfifo', [path])
    await assertRefused(file, 6, new RegExp(`Cannot read ${path}: it is no regular file`))
    await rm(path)
    await run('ln', ['-s', '/dev/zero', path])
    await assertRefused(file, 6, new RegExp(`Cannot read ${path}: it is no regular file`))
    await rm(path)
    // Whatever it leads to: else a message could tell of any file of this host.
    await run('ln', ['-s', `${path}.away`, path])
    await assertRefused(file, 6, new RegExp(`Cannot read ${path}: it is no regular file, but a symlink`))
    await rm(path)
    await rename(`${path}.away`, path)
  }
  await newWindlass().run('load', '-q', '-i', file)
})

test('parts and checksums want a file', async () => {
  for (const option of ['--checksum', '--split=4G']) {
    const { status, stderr } = await home.try('save', option, base)
    assert.deepEqual([status, stderr.includes('the archive goes to stdout')], [125, true], stderr)
    const copied = await home.try('copy', option, `store:${base}`, 'oci:/nowhere')
    assert.equal(copied.status, 125, copied.stderr)
  }
})

test('a save since an archive, an image or a list has only what is new, and is completed from the store', async () => {
  const disk = await makeDisk('since')
  const files = await makeDisk('files')
  await writeFile(join(files, 'new'), 'new')
  const next = 'app.example/next:1'
  await home.run('pack', '--base', base, files, next)
  const whole = join(disk, 'whole.tar')
  const old = join(disk, 'old.tar')
  await home.run('save', '-o', old, base)
  const list = join(disk, 'list')
  const inspected = JSON.parse(await home.run('inspect', base))[0]
  await writeFile(list, `# the other side\n${inspected.RootFS.Layers.join('\n')}\n`)
  for (const format of ['docker-archive', 'oci-archive']) {
    await home.run('save', '--format', format, '-o', whole, next)
    for (const since of [old, list, base]) {
      const file = join(disk, `${format}.tar`)
      const { stderr } = await home.try('save', '--format', format, '--since', since, '-o', file, next)
      assert.match(stderr, /layers left out/)
      assert.ok((await stat(file)).size < (await stat(whole)).size / 3, `${since}: ${(await stat(file)).size}`)
    }
    const file = join(disk, `${format}.tar`)
    await assertRefused(
      file,
      6,
      /layer 1 \(sha256:[0-9a-f]{64}\) of app\.example\/next:1 is neither in it nor in the store/,
    )
    const there = newWindlass()
    await there.run('load', '-q', '-i', old)
    assert.equal(await there.run('load', '-q', '-i', file), next)
    const [image] = JSON.parse(await there.run('inspect', next))
    assert.equal(image.Id, JSON.parse(await home.run('inspect', next))[0].Id)
    assert.equal((await there.try('verify', '-q')).status, 0)
    // What was completed is complete.
    const again = newWindlass()
    await there.run('save', '-o', `${file}.again`, next)
    await again.run('load', '-q', '-i', `${file}.again`)
    assert.equal(JSON.parse(await again.run('inspect', next))[0].Id, image.Id)
    // Damage to what is there is found as ever.
    await flip(file, 0x300)
    await assertRefused(file, 6, /Cannot/)
  }
})

test('since what is not there is refused before anything is written', async () => {
  const disk = await makeDisk('nothing')
  const file = join(disk, 'app.tar')
  const { status, stderr } = await home.try('save', '--since', 'no/such:1', '-o', file, base)
  assert.equal(status, 2, stderr)
  assert.match(stderr, /neither there nor in the store/)
  assert.deepEqual(await readdir(disk), [])
})

test('a save in parts whose disk is full leaves no archive', async () => {
  const disk = await makeDisk('full')
  const script = `mount -t tmpfs -o size=128k none "$1"; trap 'umount "$1"' EXIT
    "$2" --root "$3" save --split 64K -o "$1/app.tar" "$4" 2>"$1/../full.log" && exit 1 || status=$?
    ls -A "$1"; echo "status $status"`
  const output = await runScript(script, [disk, windlassProgram, join(directory, 'home'), base])
  assert.equal(output, 'status 7', await readFile(join(disk, '../full.log'), 'utf8'))
})
