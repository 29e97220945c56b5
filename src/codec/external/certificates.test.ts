import assert from 'node:assert/strict'
import {
  copyFile,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Fault, plantBroken } from '../../../test/broken-decompressors/plant.ts'
import { isWindlassError } from '../../errors.ts'
import { tryByteLock } from '../../sys/byte-locks.ts'
import { type Certificate, Certificates } from './certificates.ts'
import { Prober } from './certify.ts'
import { planDecompressors } from './plan.ts'
import type { Probe, Verdict } from './probe-result.ts'
import { type ExternalProgram, findPrograms } from './programs.ts'

const { signal } = new AbortController()
const prober = new Prober({ signal, idleMs: 700, stressMs: 100 })
/** For what does not hang: a busy machine may let nothing move for a while. */
const patient = new Prober({ signal, idleMs: 20_000, deadlineMs: 60_000, stressMs: 100 })

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-certificates-'))
})
after(() => rm(directory, { recursive: true }))

function newDirectory(): Promise<string> {
  return mkdtemp(join(directory, 'x'))
}

async function find(path: string): Promise<ExternalProgram> {
  const { programs } = await findPrograms(path)
  const [program] = programs
  assert.ok(program)
  return program
}

/** A program with a made-up result: what is tested is the memory, not the probe. */
async function certify(
  root: string,
  bin: string,
  speedRatio: number,
  verdict: Verdict = 'certified',
): Promise<ExternalProgram> {
  const program = await find(bin)
  const certificates = await Certificates.read(root)
  const probe: Probe = {
    verdict,
    problems: [],
    speedRatio,
    version: '1',
    tookMs: 1,
  }
  const files = [program.realPath, join(bin, 'library')]
  const fake = { probe: () => Promise.resolve(probe), listFiles: () => Promise.resolve(files) }
  await certificates.probe(program, fake as unknown as Prober)
  await certificates.write()
  return program
}

async function newBin(name = 'gzip'): Promise<string> {
  const bin = await newDirectory()
  await copyFile('/bin/gzip', join(bin, name))
  await writeFile(join(bin, 'library'), 'code')
  return bin
}

async function choose(root: string, path: string, env = {}) {
  return await planDecompressors({ decompressor: 'auto', directory: root, path, env })
}

test('the gzip, zstd and xz of the host are certified, with their version, speed and libraries', async () => {
  const { programs } = await findPrograms('/usr/bin:/bin', ['gzip', 'zstd', 'xz'])
  assert.ok(programs.length >= 2)
  for (const program of programs) {
    let probe = await patient.probe(program)
    // Beside other work one of the two that are compared may have had the processor, and the other not.
    for (let tries = 0; tries < 5 && probe.verdict === 'slow'; tries++) probe = await patient.probe(program)
    assert.equal(probe.verdict, 'certified', JSON.stringify(probe))
    assert.deepEqual(probe.problems, [])
    assert.match(probe.version, /\d\.\d/)
    const files = await prober.listFiles(program)
    assert.ok(files.includes(program.realPath) && files.some(file => file.includes('libc.so')))
    assert.ok((probe.speedRatio ?? 0) > 0.05)
  }
})

for (const [fault, verdict] of [
  ['flip', 'wrong-bytes'],
  ['spin', 'hangs'],
  ['stop-itself', 'hangs'],
  ['stop-reading', 'hangs'],
  ['die-by-signal', 'dies'],
  ['fail-with-a-child', 'dies'],
] as const satisfies (readonly [Fault, Verdict])[]) {
  test(`the probe of a program with the fault ${fault} ends: ${verdict}`, async () => {
    const bin = await newDirectory()
    await plantBroken(bin, fault)
    const begun = performance.now()
    const probe = await (verdict === 'hangs' ? prober : patient).probe(await find(bin))
    assert.equal(probe.verdict, verdict)
    assert.equal(probe.problems[0]?.isRightWithOneThread, false)
    assert.equal(probe.speedRatio, undefined)
    assert.ok(performance.now() - begun < 100_000)
  })
}

test('a program that takes a damaged stream for a whole one is told from a good one', async () => {
  const bin = await newDirectory()
  await writeFile(join(bin, 'gzip'), '#!/bin/sh\n/bin/gzip "$@" 2>/dev/null\nexit 0\n', { mode: 0o755 })
  const probe = await patient.probe(await find(bin))
  assert.equal(probe.verdict, 'missing-error')
  assert.ok(probe.problems.every(({ shape }) => /cut|checksum/.test(shape)))
})

test('a program that fails with threads only is told apart', async () => {
  const bin = await newDirectory()
  const script = '#!/bin/sh\ncase "$1" in -p) shift 2; exec /bin/gzip "$@";; esac\n/bin/gzip "$@" | tr a b\n'
  await writeFile(join(bin, 'pigz'), script, { mode: 0o755 })
  const probe = await patient.probe(await find(bin))
  assert.equal(probe.verdict, 'wrong-bytes')
  assert.equal(probe.problems.at(0)?.isRightWithOneThread, true)
})

test('a cancelled probe ends, and gives no verdict', async () => {
  const bin = await newDirectory()
  await plantBroken(bin, 'spin')
  const abort = new AbortController()
  setTimeout(() => abort.abort(), 400)
  const slow = new Prober({ signal: abort.signal, idleMs: 60_000 })
  const begun = performance.now()
  await assert.rejects(
    slow.probe(await find(bin)),
    error => isWindlassError(error, 'CANCELLED') || (error as Error).name === 'AbortError',
  )
  assert.ok(performance.now() - begun < 50_000)
})

test('a certificate is remembered until the program, or what it loads, changes', async () => {
  const root = await newDirectory()
  const bin = await newBin()
  const program = await certify(root, bin, 2)
  const read = async (): Promise<Certificate | undefined> => (await Certificates.read(root)).find(program)
  assert.equal((await read())?.verdict, 'certified')
  await utimes(join(bin, 'library'), 1, 1)
  assert.equal(await read(), undefined)
  await certify(root, bin, 2)
  assert.ok(await read())
  await writeFile(program.realPath, 'another program')
  assert.equal(await read(), undefined)
})

test('a file that was altered in place, with its size and its time put back, is another file', async () => {
  const root = await newDirectory()
  const bin = await newBin()
  const library = join(bin, 'library')
  await utimes(library, 1, 1)
  const program = await certify(root, bin, 2)
  const before = await stat(library)
  await writeFile(library, 'CODE')
  await utimes(library, 1, 1)
  const { size, mtimeMs, ino } = await stat(library)
  assert.deepEqual([size, mtimeMs, ino], [before.size, before.mtimeMs, before.ino])
  assert.equal(await (await Certificates.read(root)).find(program), undefined)
})

for (const [how, body] of [
  ['runs another program', 'INNER "$@"'],
  ['becomes another program', 'exec INNER "$@"'],
  ['becomes another script that becomes a program', 'exec MIDDLE "$@"'],
] as const) {
  test(`a certificate of a script that ${how} is forgotten when that changes`, async () => {
    const [root, bin] = [await newDirectory(), await newDirectory()]
    const [inner, middle] = [join(bin, 'inner'), join(bin, 'middle')]
    await copyFile('/bin/gzip', inner)
    await writeFile(middle, `#!/bin/sh\nexec '${inner}' "$@"\n`, { mode: 0o755 })
    const text = body.replace('INNER', inner).replace('MIDDLE', middle)
    await writeFile(join(bin, 'pigz'), `#!/bin/dash\n${text}\n`, { mode: 0o755 })
    const program = await find(bin)
    const probe = { verdict: 'certified', problems: [], speedRatio: 2, version: '1', tookMs: 1 } as const
    const fake = { probe: () => Promise.resolve(probe), listFiles: () => prober.listFiles(program) }
    const certificates = await Certificates.read(root)
    const { files } = await certificates.probe(program, fake as unknown as Prober)
    const paths = files.map(({ path }) => path)
    assert.ok(paths.includes(inner) && paths.includes(await realpath('/bin/dash')), paths.join())
    assert.ok(await certificates.find(program))
    await copyFile('/bin/cat', join(bin, 'new'))
    await rename(join(bin, 'new'), inner) // what runs cannot be written to
    assert.equal(await certificates.find(program), undefined)
  })
}

test('several processes that learn something at the same time lose nothing of it', async () => {
  const root = await newDirectory()
  const bins = await Promise.all(Array.from({ length: 8 }, () => newBin()))
  const [first = ''] = bins
  const old = await certify(root, first, 2)
  const early = await Certificates.read(root)
  const programs = await Promise.all(bins.slice(1).map(bin => certify(root, bin, 2)))
  await early.distrust(old, 'it stalled')
  await early.write()
  const now = await Certificates.read(root)
  for (const program of programs) assert.equal((await now.find(program))?.verdict, 'certified')
  assert.equal((await now.find(old))?.distrusted, 'it stalled')
  assert.deepEqual(await readdir(root), ['decompressors.json', 'decompressors.lock'])
})

test('a lock that is not given up is not waited for for ever', { timeout: 120_000 }, async () => {
  const root = await newDirectory()
  const bin = await newBin()
  await certify(root, bin, 2)
  using _lock = tryByteLock(join(root, 'decompressors.lock'), 0)
  await assert.rejects(certify(root, bin, 2), /another process has held .*decompressors\.lock for 5 s$/)
})

test('a certificate does not hold for another file behind the same link', async () => {
  const root = await newDirectory()
  const bin = await newBin('old')
  await copyFile('/bin/gzip', join(bin, 'new'))
  await symlink('old', join(bin, 'gzip'))
  await certify(root, bin, 2)
  await rm(join(bin, 'gzip'))
  await symlink('new', join(bin, 'gzip'))
  assert.equal(await (await Certificates.read(root)).find(await find(bin)), undefined)
})

test('a damaged memory counts as empty, and no half of one is left behind', async () => {
  const root = await newDirectory()
  const program = await certify(root, await newBin(), 2)
  assert.deepEqual(await readdir(root), ['decompressors.json', 'decompressors.lock'])
  const file = join(root, 'decompressors.json')
  const good = await readFile(file, 'utf8')
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '{"version":2,"certificates":[null,{},{"path":1}]}',
    good.replace('"version": 2', '"version": 1'),
  ]) {
    await writeFile(file, text)
    assert.equal(await (await Certificates.read(root)).find(program), undefined, text)
  }
  await writeFile(file, good + ' '.repeat(2_000_000))
  assert.equal(await (await Certificates.read(root)).find(program), undefined)
})

test('auto takes the fastest that is certified and faster than in process, and nothing else', async () => {
  const root = await newDirectory()
  const [slow, fast, bad] = [await newBin('gzip'), await newBin('igzip'), await newBin('unpigz')]
  const path = [bad, slow, fast].join(':')
  assert.equal((await choose(root, path)).choose('gzip'), undefined)
  await certify(root, slow, 1.14)
  assert.equal((await choose(root, path)).choose('gzip'), undefined)
  await certify(root, slow, 1.2)
  await certify(root, bad, 9, 'wrong-bytes')
  assert.equal((await choose(root, path)).choose('gzip')?.name, 'gzip')
  await certify(root, fast, 1.3)
  assert.equal((await choose(root, path)).choose('gzip')?.name, 'igzip')
  assert.equal((await choose(root, path)).choose('zstd'), undefined)
  assert.equal((await choose(root, path, { CONTAINERD_DISABLE_IGZIP: 'true' })).choose('gzip')?.name, 'gzip')
  const builtin = await planDecompressors({ decompressor: 'builtin', directory: root, path, env: {} })
  assert.equal(builtin.choose('gzip'), undefined)
})

test('what failed in real work is not used again, in this run and later ones, until it is probed anew', async () => {
  const root = await newDirectory()
  const bin = await newBin('igzip')
  const program = await certify(root, bin, 2)
  const plan = await choose(root, bin)
  const { choose: chosen } = plan
  assert.equal(chosen('gzip')?.path, program.path)
  plan.distrust(program, 'it stalled')
  plan.distrust(program, 'it stalled')
  await plan.settled()
  assert.equal(chosen('gzip'), undefined)
  assert.equal((await choose(root, bin)).choose('gzip'), undefined)
  const named = await planDecompressors({ decompressor: 'igzip', directory: root, path: bin, env: {} })
  assert.match(named.warnings.join(), /igzip is not to be trusted: it stalled/)
  await certify(root, bin, 2)
  assert.equal((await choose(root, bin)).choose('gzip')?.path, program.path)
})

test('a program that is named is used without a certificate, and where it is missing this is said', async () => {
  const bin = await newBin('gzip')
  const options = { directory: bin, path: bin, env: { MOBY_DISABLE_PIGZ: 'yes' } }
  assert.equal((await planDecompressors({ ...options, decompressor: 'gzip' })).choose('gzip')?.path, join(bin, 'gzip'))
  await assert.rejects(planDecompressors({ ...options, decompressor: 'unpigz' }), error =>
    isWindlassError(error, 'NOT_FOUND'),
  )
  const unknown = { ...options, decompressor: 'rm' as 'gzip' }
  await assert.rejects(planDecompressors(unknown), error => isWindlassError(error, 'USAGE'))
})
