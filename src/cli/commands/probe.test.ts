import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { plantBroken } from '../../../test/broken-decompressors/plant.ts'

// Not by the launcher: it is a shell script that needs a whole PATH.
const main = fileURLToPath(new URL('../main.ts', import.meta.url))

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-probe-'))
})
after(() => rm(directory, { recursive: true }))

async function newDirectory(): Promise<string> {
  return await mkdtemp(join(directory, 'x'))
}

async function probe(bin: string, args: readonly string[], env: Record<string, string> = {}, root = join(bin, 'root')) {
  const child = spawn(process.execPath, [main, 'probe', '--root', root, '--progress', 'none', ...args], {
    env: { ...env, HOME: '/nonexistent', PATH: bin },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const text = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', data => (text.stdout += data))
  child.stderr.setEncoding('utf8').on('data', data => (text.stderr += data))
  return await new Promise<{ status: number | null; stdout: string; stderr: string }>(resolve =>
    child.on('close', status => resolve({ status, ...text })),
  )
}

test('a program that docker would run, and that hangs, is a problem: 11, with the evidence, and nothing of it is forgotten', async () => {
  const bin = await newDirectory()
  await plantBroken(bin, 'sleep')
  await writeFile(join(bin, 'dockerd'), '', { mode: 0o755 })
  const { status, stdout } = await probe(bin, [])
  assert.equal(status, 11)
  assert.match(stdout, /^PROGRAM +PATH +VERSION +VERDICT +SPEED +USED BY\nunpigz +\S+ .* hangs +- +dockerd\n/)
  assert.match(stdout, /unpigz: hangs at "[\w ]+": Cannot decompress with .*: no output for 2 s after \d+ bytes/)
  const { certificates } = JSON.parse(await readFile(join(bin, 'root/decompressors.json'), 'utf8'))
  assert.equal(certificates[0].verdict, 'hangs')
})

test('the same program is a warning where nobody runs it: 10, and JSON tells all', async () => {
  const bin = await newDirectory()
  await plantBroken(bin, 'flip', 'pigz')
  const { status, stdout } = await probe(bin, ['--json', 'pigz'])
  assert.equal(status, 10)
  const { programs, warnings } = JSON.parse(stdout)
  assert.deepEqual(warnings, [])
  assert.equal(programs[0].verdict, 'wrong-bytes')
  assert.deepEqual(programs[0].usedBy, [])
  assert.ok(programs[0].files.length > 1)
})

test('a certified program ends with 0, a program that is missing and a wrong switch with 10', async () => {
  const bin = await newDirectory()
  await mkdir(join(bin, 'bin'))
  await symlink('/bin/gzip', join(bin, 'bin/gzip'))
  const path = join(bin, 'bin/gzip')
  let good = await probe(bin, [path])
  // Beside other work one of the two that are compared may have had the processor, and the other not.
  for (let tries = 0; tries < 5 && / slow /.test(good.stdout); tries++) good = await probe(bin, [path])
  assert.equal(good.status, 0, good.stdout + good.stderr)
  assert.match(good.stdout, /gzip +\S+ +gzip .* certified +\d+\.\d\dx +-\n/)
  assert.equal(good.stderr, '')
  const missing = await probe(bin, ['xz'])
  assert.equal(missing.status, 10)
  assert.match(missing.stderr, /^warning: There is no xz that could be used\n/)
  const wrong = await probe(bin, ['-q', 'xz'], { MOBY_DISABLE_PIGZ: 'yes' })
  assert.match(wrong.stderr, /warning: MOBY_DISABLE_PIGZ is neither true nor false; taken as true/)
})

test('results that cannot be remembered are shown all the same', async () => {
  const bin = await newDirectory()
  await writeFile(join(bin, 'file'), '')
  const { status, stderr } = await probe(bin, [], {}, join(bin, 'file/root'))
  assert.equal(status, 10)
  assert.match(stderr, /warning: The results are not remembered: Cannot open store/)
})

test('what is no decompressor is refused', async () => {
  const { status, stderr } = await probe(await newDirectory(), ['rm'])
  assert.equal(status, 125)
  assert.match(stderr, /Cannot probe "rm": unknown; wanted igzip/)
})
