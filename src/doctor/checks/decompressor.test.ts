import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { codesOf, makeDecompressing, makeEngine, runCheck } from '../../../test/checked.ts'
import { besideUs, FixtureHost } from '../../../test/fixture-host.ts'
import { LiveHost } from '../../sys/host-view.ts'
import { decompressorFile } from './decompressor-file.ts'
import { decompressorLibrary } from './decompressor-library.ts'
import { decompressorPackage } from './decompressor-package.ts'
import { decompressorPrograms } from './decompressor-programs.ts'
import { decompressorSettings } from './decompressor-settings.ts'

const unpigz = '/usr/bin/unpigz'

/** What dpkg and rpm say on a made host, by their command lines. */
async function lookAtPackage(tells: Readonly<Record<string, string>>, path = unpigz) {
  return await runCheck(decompressorPackage, new FixtureHost({ tells }), { engines: [makeDecompressing(1, path)] })
}

test('the package of the decompressor is found and checked: this host’s own', async () => {
  const [finding] = await runCheck(decompressorPackage, new LiveHost(), { engines: [makeDecompressing(1, unpigz)] })
  assert.equal(finding?.code, 'DECOMPRESSOR_INTACT')
  assert.match(finding?.evidence[0] ?? '', /^pigz \S+, unaltered \(dpkg -V\)$/)
})

test('a program that somebody put there belongs to no package: of this host, too', async () => {
  const findings = await runCheck(decompressorPackage, new LiveHost(), {
    engines: [makeDecompressing(1, '/opt/bin/unpigz')],
  })
  assert.deepEqual(codesOf(findings), ['DECOMPRESSOR_UNOWNED'])
})

test('a package whose program was altered is told, one whose documents are missing is not', async () => {
  const owner = { [`dpkg -S ${unpigz} /bin/unpigz`]: 'pigz: /usr/bin/unpigz\n' }
  const altered = await lookAtPackage({
    ...owner,
    'dpkg -V pigz': '??5?????? c /etc/pigz.conf\n??5??????   /usr/bin/unpigz\n',
  })
  assert.deepEqual(codesOf(altered), ['DECOMPRESSOR_ALTERED'])
  assert.match(altered[0]?.evidence[0] ?? '', /: \?\?5\?{6} {3}\/usr\/bin\/unpigz$/)
  const documents = await lookAtPackage({
    ...owner,
    'dpkg -V pigz': 'missing     /usr/share/doc/pigz/README.gz\n',
  })
  assert.deepEqual(codesOf(documents), ['DECOMPRESSOR_INTACT'])
})

test('rpm: the origin’s own package, unaltered and altered; a file under its other name', async () => {
  const asked = `rpm -qf ${unpigz} /bin/unpigz`
  const owner = { [asked]: 'file /usr/bin/unpigz is not owned by any package\npigz-2.4-7.uel20.01.aarch64\n' }
  const intact = await lookAtPackage({ ...owner, 'rpm -V pigz-2.4-7.uel20.01.aarch64': '' })
  assert.deepEqual(codesOf(intact), ['DECOMPRESSOR_INTACT'])
  assert.equal(intact[0]?.facts['package'], 'pigz-2.4-7.uel20.01.aarch64')
  const altered = await lookAtPackage({
    ...owner,
    'rpm -V pigz-2.4-7.uel20.01.aarch64': 'S.5....T.    /usr/bin/pigz\n',
  })
  assert.deepEqual(codesOf(altered), ['DECOMPRESSOR_ALTERED'])
})

test('dpkg is there without packages, and rpm knows the file: rpm is believed', async () => {
  const tells = {
    [`dpkg -S ${unpigz} /bin/unpigz`]: '',
    [`rpm -qf ${unpigz} /bin/unpigz`]: 'pigz-2.8-1.x86_64\n',
    'rpm -V pigz-2.8-1.x86_64': '',
  }
  assert.deepEqual(codesOf(await lookAtPackage(tells)), ['DECOMPRESSOR_INTACT'])
})

test('no package manager answers: that is said, and nothing concluded', async () => {
  assert.deepEqual(codesOf(await lookAtPackage({})), ['DECOMPRESSORS_UNSEEN'])
})

async function lookAtLibrary(versions: string, libraries: string, environment: readonly [string, string][] = []) {
  const prefix = ['env', ...environment.filter(([name]) => name.startsWith('LD_')).map(pair => pair.join('='))].join(
    ' ',
  )
  const tells = { [`${prefix} ldd ${unpigz}`]: libraries, [`${prefix} ${unpigz} -vV`]: versions }
  const engine = makeDecompressing(1, unpigz, { environment: new Map(environment) })
  return await runCheck(decompressorLibrary, new FixtureHost({ ...besideUs(1), tells }), { engines: [engine] })
}
const plain =
  '\tlibz.so.1 => /lib64/libz.so.1 (0x1)\n\tlibc.so.6 => /lib64/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n'

test('pigz and zlib of this host get along', async () => {
  const [finding] = await runCheck(decompressorLibrary, new LiveHost(), { engines: [makeDecompressing(1, unpigz)] })
  assert.equal(finding?.code, 'DECOMPRESSOR_VERSION')
  assert.match(finding?.evidence[0] ?? '', /^pigz \d\S* with zlib 1\.\d\S*$/)
})

test('pigz to 2.7 refuses zlib 1.3, whose version has two numbers, and takes 1.3.1; 2.8 takes both', async () => {
  for (const [pigz, zlib, code] of [
    ['2.4', '1.3', 'PIGZ_REFUSES_ZLIB'],
    ['2.7', '1.3', 'PIGZ_REFUSES_ZLIB'],
    ['2.7', '1.3.1', 'DECOMPRESSOR_VERSION'],
    ['2.8', '1.3', 'DECOMPRESSOR_VERSION'],
    ['2.6', '1.2.13', 'DECOMPRESSOR_VERSION'],
  ])
    assert.deepEqual(codesOf(await lookAtLibrary(`pigz ${pigz}\nzlib ${zlib}\n`, plain)), [code], `${pigz} ${zlib}`)
})

test('zlib-ng and accelerator libraries are told, as are libraries that the engine’s environment chooses', async () => {
  const ng = await lookAtLibrary('pigz 2.8\nzlib 1.3.1.zlib-ng\n', plain)
  assert.deepEqual(codesOf(ng), ['ZLIB_UNUSUAL'])
  const libraries =
    '\tlibz.so.1 => /usr/local/kaezip/lib/libz.so.1 (0x1)\n\tlibwd.so.2 => /usr/local/lib/libwd.so.2 (0x2)\n'
  const kae = await lookAtLibrary('pigz 2.4\nzlib 1.2.11\n', libraries, [['LD_LIBRARY_PATH', '/usr/local/kaezip/lib']])
  assert.deepEqual(codesOf(kae), ['DECOMPRESSOR_LIBRARY_CHOSEN', 'ZLIB_UNUSUAL', 'DECOMPRESSOR_VERSION'])
  assert.match(kae[1]?.evidence[0] ?? '', /Kunpeng/)
})

test('a library or a program that somebody else can replace is not loaded or run, though its package is whole; that is told', async () => {
  const stranger = { place: '/usr', uid: 1000, isOpen: false }
  const tells = { [`env ldd ${unpigz}`]: plain, [`env ${unpigz} -vV`]: 'pigz 2.4\nzlib 1.3\n' }
  const host = new FixtureHost({ ...besideUs(1), tells, strangers: { [unpigz]: stranger } })
  const findings = await runCheck(decompressorLibrary, host, { engines: [makeDecompressing(1, unpigz)] })
  assert.deepEqual(codesOf(findings), ['DECOMPRESSORS_UNSEEN'])
  assert.deepEqual(findings[0]?.evidence, ['it was not run with our rights: /usr belongs to user 1000'])
})

/** What is said of a decompressor that may be tried, and whether it was. */
async function lookWithTrial(path: string, host: FixtureHost | LiveHost, pid = process.pid) {
  const tried: boolean[] = []
  const verdictOf = async (_: string, mayTry: boolean) => {
    tried.push(mayTry)
    return mayTry ? 'certified' : undefined
  }
  const options = { engines: [makeDecompressing(pid, path)], mayTry: true, verdictOf }
  const findings = await runCheck(decompressorPrograms, host, options)
  return { codes: codesOf(findings), tried, evidence: findings[0]?.evidence ?? [] }
}

test('a program is tried for an engine that is of this host, by root or us, and for no other', async () => {
  const beside = besideUs(7)
  assert.deepEqual((await lookWithTrial(unpigz, new FixtureHost(beside), 7)).codes, ['DECOMPRESSOR_CERTIFIED'])
  const others = [
    { ...beside, files: { '/proc/7/status': 'Uid:\t65534\t65534\t65534\t65534\n' } },
    { ...beside, links: { ...beside.links, '/proc/7/ns/user': 'user:[2]' } },
    { ...beside, links: { ...beside.links, '/proc/7/root': '/home/somebody' } },
  ]
  for (const other of others) {
    const { codes, tried, evidence } = await lookWithTrial(unpigz, new FixtureHost(other), 7)
    assert.deepEqual([codes, tried], [['DECOMPRESSOR_UNPROVEN'], [false]])
    assert.match(evidence.join(), /not run with our rights: the engine is neither of root nor our own/)
  }
})

test('a program that somebody else may have put there is not tried, nor a script whose interpreter is his, or that runs a program of his', {
  skip: process.getuid?.() !== 0,
}, async t => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-theirs-'))
  t.after(() => rmSync(directory, { recursive: true }))
  chmodSync(directory, 0o755)
  const [mine, theirs] = ['mine', 'theirs'].map(name => join(directory, name)) as [string, string]
  for (const place of [mine, theirs]) mkdirSync(place)
  const write = (path: string, text: string) => writeFileSync(path, text, { mode: 0o755 })
  write(join(theirs, 'unpigz'), '#!/bin/sh\nexec gzip -dc\n')
  // It leads to root's own shell today.
  symlinkSync('/bin/sh', join(theirs, 'sh'))
  write(join(mine, 'unpigz'), `#!${theirs}/sh\n`)
  write(join(mine, 'zstd'), `#!/bin/sh\nexec ${theirs}/unpigz\n`)
  write(join(mine, 'pigz'), '#!/bin/sh\nexec gzip -dc\n')
  chownSync(theirs, 65_534, 65_534)
  for (const path of [join(theirs, 'unpigz'), join(mine, 'unpigz'), join(mine, 'zstd')]) {
    const { codes, tried, evidence } = await lookWithTrial(path, new LiveHost())
    assert.deepEqual([codes, tried], [['DECOMPRESSOR_UNPROVEN'], [false]])
    assert.equal(evidence.at(-1), `it was not run with our rights: ${theirs} belongs to user 65534`)
  }
  assert.deepEqual((await lookWithTrial(join(mine, 'pigz'), new LiveHost())).tried, [true])
  assert.deepEqual((await lookWithTrial(join(mine, 'missing'), new LiveHost())).tried, [false])
})

test('a pigz that does not tell its version is not judged', async () => {
  assert.deepEqual(codesOf(await lookAtLibrary('Segmentation fault\n', plain)), ['DECOMPRESSORS_UNSEEN'])
})

test('a decompressor that everybody may replace is told, and one that was replaced under containerd, which would not know', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'windlass-file-'))
  const path = join(directory, 'unpigz')
  writeFileSync(path, '', { mode: 0o755 })
  utimesSync(path, 0, 0)
  const now = Math.round(performance.timeOrigin)
  assert.ok(now > 0)
  const ticks = Math.round(
    Number(await new LiveHost().disk.text('/proc/uptime').then(text => text?.split(' ')[0])) * 100,
  )
  const look = async (kind: 'containerd' | 'dockerd', startTicks: number) => {
    const made = makeDecompressing(process.pid, path, { kind })
    const engine = { ...made, process: { ...made.process, startTicks } }
    return codesOf(await runCheck(decompressorFile, new LiveHost(), { engines: [engine] }))
  }
  try {
    assert.deepEqual(await look('containerd', 100), ['DECOMPRESSOR_PATH_CACHED'])
    assert.deepEqual(await look('dockerd', 100), [], 'dockerd 20.10 looks for it anew')
    assert.deepEqual(await look('containerd', ticks), [], 'it was there before')
    chmodSync(directory, 0o777)
    assert.deepEqual(await look('dockerd', 100), ['DECOMPRESSOR_WRITABLE'])
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('switches that are not understood, and those of another engine', async () => {
  const host = new FixtureHost({})
  const invalid = {
    name: 'unpigz',
    path: unpigz,
    variable: 'MOBY_DISABLE_PIGZ',
    value: 'yes',
    use: 'invalid-value',
  } as const
  const old = makeEngine(1, { decompressors: [invalid], version: '19.03.15' })
  const [first] = await runCheck(decompressorSettings, host, { engines: [old] })
  assert.equal(first?.code, 'DECOMPRESSOR_SETTING_INVALID')
  assert.match(first?.evidence[1] ?? '', /fails every pull/)
  const environment = new Map([['CONTAINERD_DISABLE_PIGZ', 'true']])
  const docker = makeDecompressing(2, unpigz, { environment, version: '24.0.7' })
  assert.deepEqual(codesOf(await runCheck(decompressorSettings, host, { engines: [docker] })), [
    'DECOMPRESSOR_SETTING_IGNORED',
  ])
})
