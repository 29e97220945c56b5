import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { isWindlassError } from '../../errors.ts'
import { LiveHost } from '../../sys/host-view.ts'
import { cPath, getxattr, lsetxattr } from '../../sys/libc.ts'
import type { Engine } from '../engines.ts'
import { applyCure, lastOf, undoable, undoCure } from './apply.ts'
import { type Cure, type CureFacts, planCures, readCureFacts } from './cure.ts'
import { addedBy } from './deliver.ts'
import { type FileChange, formatDiff } from './file-change.ts'
import { Journal, listStrangers, readJournals, type Step } from './journal.ts'
import { hasWorkaround } from './kill.ts'
import { planService } from './service.ts'
import { formatShim } from './shim-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'windlass-cures-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const host = new LiveHost()

function engineOf(facts: Partial<Engine> = {}): Engine {
  const process = { pid: 42, startTicks: 7 } as Engine['process']
  const decompressors = [
    { name: 'unpigz', path: '/usr/bin/unpigz', variable: 'MOBY_DISABLE_PIGZ', value: undefined, use: 'used' as const },
  ]
  const none = { args: [], program: undefined, dataRoot: undefined, dataPath: undefined, sockets: [], isOpen: true }
  return {
    kind: 'dockerd',
    process,
    version: '20.10.24',
    rootPrefix: '',
    environment: new Map(),
    decompressors,
    ...none,
    ...facts,
  }
}

const facts: CureFacts = {
  isOfHost: true,
  unit: 'docker.service',
  shims: [{ name: 'unpigz', path: '/usr/local/bin/unpigz', gzip: '/usr/bin/gzip' }],
  settings: undefined,
  containers: 3,
  isLiveRestore: false,
  socket: '/run/docker.sock',
  images: [{ reference: 'team/app:1', namespace: undefined, platform: undefined, isOfMany: false }],
}

function cureOf(kind: Cure['kind'], engine = engineOf(), known = facts): Cure {
  return planCures(engine, engine.kind, known).find(cure => cure.kind === kind) as Cure
}

test('a shim takes effect at once where the engine looks its decompressor up for each layer, and else after a restart', () => {
  const [change] = cureOf('shim').changes
  assert.equal(change?.path, '/usr/local/bin/unpigz')
  assert.match(change?.after ?? '', /^#!\/bin\/sh\n.*\nexec \/usr\/bin\/gzip "\$@"\n$/)
  assert.match(cureOf('shim').effect, /^at once/)
  assert.match(cureOf('shim', engineOf({ version: '19.3.15' })).effect, /^after a restart/)
  assert.match(cureOf('shim', engineOf({ kind: 'containerd', version: '1.6.20' })).effect, /^after a restart/)
})

test('the variable is the one that this engine reads, in a drop-in of its unit', () => {
  const { changes, commands } = cureOf('disable')
  assert.equal(changes[0]?.path, '/etc/systemd/system/docker.service.d/windlass-no-decompressor.conf')
  assert.match(changes[0]?.after ?? '', /\[Service\]\nEnvironment=MOBY_DISABLE_PIGZ=true\n$/)
  assert.deepEqual(commands, [['systemctl', 'daemon-reload']])
  const igzip = {
    name: 'igzip',
    path: undefined,
    variable: 'CONTAINERD_DISABLE_IGZIP',
    value: undefined,
    use: 'used' as const,
  }
  const unpigz = { ...igzip, name: 'unpigz', variable: 'CONTAINERD_DISABLE_PIGZ' }
  const newest = cureOf('disable', engineOf({ kind: 'containerd', decompressors: [igzip, unpigz] }))
  assert.match(
    newest.changes[0]?.after ?? '',
    /CONTAINERD_DISABLE_IGZIP=true\nEnvironment=CONTAINERD_DISABLE_PIGZ=true/,
  )
})

test('without systemd the settings of the init get a line more; without both it is said what to do', () => {
  const settings = { path: '/etc/default/docker', content: 'DOCKER_OPTS=x' }
  const [change] = cureOf('disable', engineOf(), { ...facts, unit: undefined, settings }).changes
  assert.equal(change?.after, 'DOCKER_OPTS=x\nexport MOBY_DISABLE_PIGZ=true\n')
  const helpless = cureOf('disable', engineOf(), { ...facts, unit: undefined })
  assert.deepEqual(helpless.changes, [])
  assert.match(helpless.obstacle ?? '', /MOBY_DISABLE_PIGZ=true/)
})

test('settings of the init that have it already are left alone, and only what is missing is put into them', () => {
  const settled = (content: string, engine = engineOf()) => {
    const settings = { path: '/etc/default/docker', content }
    const { changes, obstacle } = cureOf('disable', engine, { ...facts, unit: undefined, settings })
    return obstacle ?? changes[0]?.after
  }
  const once = settled('# x\n') ?? ''
  assert.equal(once, '# x\nexport MOBY_DISABLE_PIGZ=true\n')
  assert.match(settled(once) ?? '', /^\/etc\/default\/docker has it already \(MOBY_DISABLE_PIGZ=true\)/)
  assert.match(settled('  export MOBY_DISABLE_PIGZ="1" # ours\n') ?? '', /has it already/)
  for (const otherwise of [
    'MOBY_DISABLE_PIGZ=true\n',
    '#export MOBY_DISABLE_PIGZ=true\n',
    `${once}export MOBY_DISABLE_PIGZ=false\n`,
  ])
    assert.equal(settled(otherwise), `${otherwise}export MOBY_DISABLE_PIGZ=true\n`)
  const [unpigz] = engineOf().decompressors
  const igzip = { ...unpigz, name: 'igzip', variable: 'MOBY_DISABLE_IGZIP' } as Engine['decompressors'][number]
  const both = engineOf({ decompressors: [...engineOf().decompressors, igzip] })
  assert.equal(settled(once, both), `${once}export MOBY_DISABLE_IGZIP=true\n`)
})

test('an engine that may be anybody’s gets no image, no credentials, no shim and no setting', () => {
  const known = { ...facts, isOfHost: false, unit: undefined, settings: { path: '/etc/default/docker', content: '' } }
  for (const kind of ['deliver', 'shim', 'disable'] as const) {
    const { obstacle, changes, commands, delivery } = cureOf(kind, engineOf(), known)
    assert.match(obstacle ?? '', /neither of root nor your own|known has started it/)
    assert.deepEqual([changes, commands, delivery], [[], [], undefined])
  }
  assert.match(cureOf('deliver', engineOf(), known).obstacle ?? '', /would get your credentials: .*--into docker REF/)
})

test('an image is delivered to the engine alone: on a socket of its own, in a place where nobody else can put one', {
  skip: process.getuid?.() !== 0,
}, async () => {
  const [safe, open] = ['safe', 'open'].map(name => join(directory, 'apis', name)) as [string, string]
  for (const place of [safe, open]) mkdirSync(place, { recursive: true })
  chmodSync(open, 0o777)
  const server = createServer((_, response) => response.end('{"ApiVersion":"1.41"}'))
  const other = createServer((_, response) => response.end('{"ApiVersion":"1.41"}'))
  await Promise.all([server.listen(join(safe, 's')), other.listen(join(open, 's'))].map(it => once(it, 'listening')))
  const apiOf = async (pid: number, ...sockets: string[]) => {
    const process = { pid, startTicks: 7 } as Engine['process']
    return (await readCureFacts(host, engineOf({ process, sockets }))).socket
  }
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  try {
    assert.equal(await apiOf(process.pid, join(open, 's'), join(safe, 's')), join(safe, 's'))
    // What this process listens on is none of that one.
    const isParent = await apiOf(child.pid ?? 0, join(safe, 's'))
    assert.equal(isParent, join(safe, 's'), 'its parent listens for it')
    assert.equal(await apiOf(1, join(safe, 's')), undefined)
  } finally {
    child.kill('SIGKILL')
    for (const it of [server, other]) it.close()
  }
})

test('a restart says what it stops', () => {
  assert.match(cureOf('restart').reaches, /3 running containers ARE STOPPED/)
  assert.match(cureOf('restart', engineOf(), { ...facts, isLiveRestore: true }).reaches, /3 running containers go on/)
  assert.match(
    cureOf('restart', engineOf(), { ...facts, unit: undefined }).obstacle ?? '',
    /systemd has not started it/,
  )
  const reachOf = (followers: CureFacts['followers']) => cureOf('restart', engineOf(), { ...facts, followers }).reaches
  assert.match(reachOf(['docker.service']), /SYSTEMD STOPS OR RESTARTS docker\.service WITH IT/)
  assert.match(reachOf(undefined), /what systemd stops with it is not known$/)
  assert.match(reachOf([]), /live-restore is off\)$/)
})

test('the unit of another engine is neither restarted nor changed', () => {
  const known = { ...facts, unit: undefined, unitObstacle: 'as that user' }
  for (const kind of ['restart', 'disable'] as const) {
    const { obstacle, changes, commands } = cureOf(kind, engineOf(), known)
    assert.match(obstacle ?? '', /^as that user/)
    assert.deepEqual([changes, commands], [[], []])
  }
})

test('an image is delivered whose pull waits, by the command that the user could give; which one is never guessed', () => {
  assert.deepEqual(cureOf('deliver').commands, [['windlass', 'pull', 'team/app:1', '--into', 'docker']])
  const image = { reference: 'team/app:1', namespace: 'k8s.io', platform: undefined, isOfMany: false }
  const images = [image]
  const containerd = engineOf({ kind: 'containerd' })
  const [command] = cureOf('deliver', containerd, { ...facts, images }).commands
  assert.deepEqual(command?.slice(-2), ['--into', 'containerd:k8s.io'])
  const [foreign] = cureOf('deliver', containerd, {
    ...facts,
    images: [{ ...image, platform: 'linux/arm64' }],
  }).commands
  assert.deepEqual(foreign?.slice(2, 5), ['--platform', 'linux/arm64', 'team/app:1'])
  const many = [{ ...image, isOfMany: true }]
  const obstacles: [RegExp, Cure][] = [
    [/name the image with --image/, cureOf('deliver', engineOf(), { ...facts, images: [] })],
    [
      /several pulls wait \(team\/app:1, team\/app:1 in k8s\.io\)/,
      cureOf('deliver', engineOf(), { ...facts, images: [...facts.images, ...images] }),
    ],
    [
      /windlass pull --platform OS\/ARCH team\/app:1 --into containerd:k8s\.io brings one/,
      cureOf('deliver', containerd, { ...facts, images: many }),
    ],
    [
      /\(there are a, b\): say it with CONTAINERD_N/,
      cureOf('deliver', containerd, { ...facts, namespaces: ['a', 'b'] }),
    ],
    [/does not tell which it has/, cureOf('deliver', containerd)],
    [/on no socket/, cureOf('deliver', engineOf(), { ...facts, socket: undefined })],
    [/a root of its own/, cureOf('deliver', engineOf({ kind: 'containerd', rootPrefix: '/proc/1/root' }))],
    [/pull --into podman/, cureOf('deliver', engineOf({ kind: 'podman' }))],
  ]
  for (const [wanted, { obstacle, delivery, commands }] of obstacles) {
    assert.match(obstacle ?? '', wanted)
    assert.deepEqual([delivery, commands], [undefined, []])
  }
})

test('an image that is named goes where its own pull waits, for the platform that it asks for', async () => {
  const clients: Record<number, string> = {
    11: 'ctr -n k8s.io images pull host.example/a:1',
    12: 'ctr images pull --platform linux/arm64 host.example/b:1',
    13: 'ctr -n build images pull host.example/c:1',
    14: 'ctr -n k8s.io images pull host.example/c:1',
  }
  const files = Object.fromEntries(
    Object.entries(clients).flatMap(([pid, line]) => [
      [`/proc/${pid}/stat`, `${pid} (ctr) S 1 ${pid} ${pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0`],
      [`/proc/${pid}/status`, `Uid:\t${process.getuid?.()}\t0\n`],
      [`/proc/${pid}/cmdline`, `${line.replaceAll(' ', '\0')}\0`],
      [`/proc/${pid}/environ`, ''],
    ]),
  )
  const host = new FixtureHost({ files })
  const engine = engineOf({ kind: 'containerd', sockets: ['/run/containerd/containerd.sock'] })
  const found = async (choice: { image?: string; namespace?: string }) => {
    const { images } = await readCureFacts(host, engine, choice)
    return images.map(({ namespace, platform }) => [namespace, platform])
  }
  assert.deepEqual(await found({ image: 'host.example/a:1' }), [['k8s.io', undefined]])
  assert.deepEqual(await found({ image: 'host.example/b:1' }), [['default', 'linux/arm64']])
  assert.deepEqual(await found({ image: 'host.example/c:1' }), [
    ['build', undefined],
    ['k8s.io', undefined],
  ])
  assert.deepEqual(await found({ image: 'host.example/c:1', namespace: 'build' }), [['build', undefined]])
  assert.deepEqual(await found({ image: 'host.example/d:1' }), [[undefined, undefined]])
  assert.deepEqual(await found({ image: 'host.example/d:1', namespace: 'x' }), [['x', undefined]])
  assert.equal((await found({})).length, 4)
})

/** A cure whose files are ours: one that is changed and one that is new. */
function localCure(name: string): {
  readonly cure: Cure
  readonly old: string
  readonly fresh: string
  readonly journals: string
} {
  const old = join(directory, `${name}-old`)
  const fresh = join(directory, `${name}.service.d`, 'fresh.conf')
  writeFileSync(old, 'a\nb\n')
  const changes = [
    { path: old, before: 'a\nb\n', after: 'a\nb\nc\n', mode: 0o644 },
    { path: fresh, before: undefined, after: 'new\n', mode: 0o644 },
  ]
  return {
    cure: { ...cureOf('disable'), changes, commands: [['true']] },
    old,
    fresh,
    journals: join(directory, `${name}-journals`),
  }
}

test('a cure is applied and undone, and nothing of it is left', async () => {
  const { cure, old, fresh, journals } = localCure('whole')
  const { id } = await applyCure(cure, { directory: journals })
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\nc\n')
  assert.equal(readFileSync(fresh, 'utf8'), 'new\n')
  const [record] = undoable(readJournals(journals))
  assert.equal(record?.id, id)
  await undoCure(record as NonNullable<typeof record>, { directory: journals })
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  assert.ok(!existsSync(join(fresh, '..')))
  assert.deepEqual(undoable(readJournals(journals)), [])
})

test('a file that is changed keeps its owner, its permissions and the link that leads to it', async () => {
  const { cure, old, journals } = localCure('kept')
  const link = join(directory, 'kept-link')
  symlinkSync(old, link)
  chmodSync(old, 0o640)
  const owner = process.getuid?.() === 0 ? 12 : statSync(old).uid
  if (process.getuid?.() === 0) chownSync(old, owner, 34)
  const [change] = cure.changes
  const changes = [{ ...(change as NonNullable<typeof change>), path: link }]
  const check = (content: string) => {
    assert.equal(readFileSync(old, 'utf8'), content)
    assert.ok(lstatSync(link).isSymbolicLink())
    assert.deepEqual([statSync(old).mode & 0o7777, statSync(old).uid], [0o640, owner])
  }
  await applyCure({ ...cure, changes }, { directory: journals })
  check('a\nb\nc\n')
  const [record] = undoable(readJournals(journals))
  await undoCure(record as NonNullable<typeof record>, { directory: journals })
  check('a\nb\n')
})

/** An ACL as the kernel keeps it (posix_acl_xattr.h): for the owner, user 12, the group, the mask, and others. */
function makeAcl(): Buffer {
  const acl = Buffer.alloc(4 + 5 * 8, 0xff)
  acl.writeUInt32LE(2)
  const entries = [
    [1, 6],
    [2, 4, 12],
    [4, 4],
    [16, 4],
    [32, 0],
  ] as const
  for (const [at, [tag, permissions, id]] of entries.entries()) {
    acl.writeUInt16LE(tag, 4 + at * 8)
    acl.writeUInt16LE(permissions, 6 + at * 8)
    if (id !== undefined) acl.writeUInt32LE(id, 8 + at * 8)
  }
  return acl
}

test('a file that is changed keeps its ACL, and gets it back', async () => {
  const { cure, old, journals } = localCure('acl')
  const name = cPath('system.posix_acl_access')
  lsetxattr(cPath(old), name, makeAcl())
  const { mode } = statSync(old)
  const check = (content: string) => {
    assert.equal(readFileSync(old, 'utf8'), content)
    assert.deepEqual(getxattr(cPath(old), name), makeAcl())
    assert.equal(statSync(old).mode, mode)
  }
  await applyCure(cure, { directory: journals })
  check('a\nb\nc\n')
  await undoCure(lastOf(readJournals(journals)) as NonNullable<ReturnType<typeof lastOf>>, { directory: journals })
  check('a\nb\n')
})

test('a file with other names is not changed: they would lead to the old one', async () => {
  const { cure, old, fresh, journals } = localCure('names')
  const other = join(directory, 'names-other')
  linkSync(old, other)
  await assert.rejects(applyCure(cure, { directory: journals }), /it has 2 names \(hard links\)/)
  assert.deepEqual([readFileSync(old, 'utf8'), statSync(old).nlink, existsSync(fresh)], ['a\nb\n', 2, false])
  rmSync(other)
  await applyCure(cure, { directory: journals })
  linkSync(old, other)
  const [record] = undoable(readJournals(journals))
  await assert.rejects(undoCure(record as NonNullable<typeof record>, { directory: journals }), /hard links/)
  assert.deepEqual([readFileSync(old, 'utf8'), existsSync(fresh)], ['a\nb\nc\n', true])
})

test('a directory that was made for a file that could not be written is taken away again', async t => {
  const { cure, fresh, journals } = localCure('no-room')
  const broken = t.mock.method(fs, 'renameSync', () => {
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
  })
  syncBuiltinESMExports()
  const changes = cure.changes.slice(1)
  await assert.rejects(applyCure({ ...cure, changes }, { directory: journals }), error =>
    isWindlassError(error, 'NO_SPACE'),
  )
  broken.mock.restore()
  syncBuiltinESMExports()
  assert.ok(!existsSync(dirname(fresh)))
})

test('a clock that is set back mixes up no journals, and those that say nothing but their time are older', t => {
  const journals = join(directory, 'set-back')
  const begin = (id: string, now: string) => {
    t.mock.timers.reset()
    t.mock.timers.enable({ apis: ['Date'], now: new Date(now) })
    using journal = new Journal(journals, id)
    journal.write('begin', { kind: id, changes: [{ path: '/f', after: '' }] })
    journal.write('applied')
  }
  begin('first', '2030-01-01')
  begin('second', '2020-01-01')
  begin('third', '2025-01-01')
  const old = { step: 'begin', time: '2031-01-01T00:00:00.000Z', changes: [{ path: '/f', after: '' }] }
  writeFileSync(join(journals, 'old-1.jsonl'), `${JSON.stringify(old)}\n`)
  const older = { ...old, time: '2029-01-01T00:00:00.000Z' }
  writeFileSync(join(journals, 'older-1.jsonl'), `${JSON.stringify(older)}\n`)
  const kinds = readJournals(journals).map(({ id }) => id.split('-')[0])
  assert.deepEqual(kinds, ['older', 'old', 'first', 'second', 'third'])
  assert.match(lastOf(undoable(readJournals(journals)))?.id ?? '', /^third/)
})

test('the last that is taken back is never a delivery that was broken off: somebody else may have brought its name since', () => {
  const steps = (...more: Step[]) => [{ step: 'begin', kind: 'deliver', before: {} }, ...more]
  const expected = { step: 'expected', digest: 'x', config: 'y', names: ['app:1'] }
  const brokenOff = { id: 'deliver-2', steps: steps(expected) }
  const applied = { id: 'deliver-1', steps: steps(expected, { step: 'applied', added: { 'app:1': 'x' } }) }
  const all = undoable([applied, brokenOff])
  assert.deepEqual(
    all.map(({ id }) => id),
    ['deliver-2', 'deliver-1'],
  )
  assert.equal(lastOf(all)?.id, 'deliver-1')
  assert.equal(lastOf([brokenOff]), undefined)
  const file = { id: 'shim-3', steps: [{ step: 'begin', kind: 'shim', changes: [{}] }] }
  assert.equal(lastOf([file, ...all])?.id, 'shim-3', 'a file tells by what stands in it whose it is')
})

test('one that a death broke off after its first file is undone from the journal', async () => {
  const { cure, old, fresh, journals } = localCure('dead')
  using journal = new Journal(journals, 'disable')
  journal.write('begin', { changes: cure.changes, commands: [] })
  writeFileSync(old, 'a\nb\nc\n')
  const [record] = undoable(readJournals(journals))
  await undoCure(record as NonNullable<typeof record>, { directory: journals })
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  assert.ok(!existsSync(fresh))
})

test('of a delivery the names are taken back that it brought, or was about to bring when it died, and that were not there', () => {
  const addedAfter = (before: Record<string, string>, ...steps: Step[]) => {
    const record = { id: 'deliver-1', steps: [{ step: 'begin', kind: 'deliver', before }, ...steps] }
    assert.equal(undoable([record]).length, addedBy(record).length > 0 && steps.at(-1)?.step !== 'undone' ? 1 : 0)
    return addedBy(record)
  }
  assert.deepEqual(addedAfter({}, { step: 'applied', added: { 'app:1': 'x', 'app@x': 'x' } }), ['app:1', 'app@x'])
  assert.deepEqual(addedAfter({ 'app:1': 'x' }, { step: 'applied', added: {} }), [])
  const expected = { step: 'expected', digest: 'x', config: 'y', names: ['app:1', 'app@x'] }
  assert.deepEqual(addedAfter({}, expected), ['app:1', 'app@x'])
  assert.deepEqual(addedAfter({ 'app:1': 'x' }, expected), ['app@x'])
  assert.deepEqual(addedAfter({}), [], 'the engine had got nothing yet')
  addedAfter({}, { step: 'undone', because: 'it failed' })
  assert.deepEqual(addedBy({ id: 'restart-1', steps: [{ step: 'begin', kind: 'restart' }, { step: 'applied' }] }), [])
})

test('what is written behind a line that a death has cut stands on lines of its own', async () => {
  const { cure, journals } = localCure('torn')
  const { id } = await applyCure(cure, { directory: journals })
  appendFileSync(join(journals, `${id}.jsonl`), '{"step":"und')
  const [record] = undoable(readJournals(journals))
  await undoCure(record as NonNullable<typeof record>, { directory: journals })
  const [{ steps } = { steps: [] }] = readJournals(journals)
  assert.deepEqual(
    steps.map(({ step }) => step),
    ['begin', 'changed', 'changed', 'applied', 'undo', 'undone'],
  )
})

test('a file that is not as it was when the cure was shown is not changed', async () => {
  const { cure, old, journals } = localCure('meanwhile')
  writeFileSync(old, 'mine\n')
  await assert.rejects(applyCure(cure, { directory: journals }), error => isWindlassError(error, 'FAILED'))
  assert.equal(readFileSync(old, 'utf8'), 'mine\n')
})

test('a shim comes where nobody but its owner may write, and over no file', async () => {
  const [open, taken, free, found] = ['open', 'taken', 'free', 'found'].map(name => join(directory, name, 'bin')) as [
    string,
    string,
    string,
    string,
  ]
  for (const path of [open, taken, free, found]) mkdirSync(path, { recursive: true })
  chmodSync(open, 0o777)
  for (const path of [taken, found]) writeFileSync(join(path, 'unpigz'), '', { mode: 0o755 })
  const [first] = engineOf().decompressors
  const decompressors = [{ ...(first as NonNullable<typeof first>), path: join(found, 'unpigz') }]
  const environment = new Map([['PATH', [open, taken, free, found].join(':')]])
  const { shims } = await readCureFacts(host, engineOf({ environment, decompressors }))
  assert.deepEqual(
    shims.map(({ path }) => path),
    [join(free, 'unpigz')],
  )
})

test('a file that somebody has changed since is left as it is', async () => {
  const { cure, old, journals } = localCure('changed')
  await applyCure(cure, { directory: journals })
  writeFileSync(old, 'mine\n')
  const [record] = undoable(readJournals(journals))
  await assert.rejects(undoCure(record as NonNullable<typeof record>, { directory: journals }), error =>
    isWindlassError(error, 'FAILED'),
  )
  assert.equal(readFileSync(old, 'utf8'), 'mine\n')
})

test('a command that fails takes back what was changed before it', async () => {
  const { cure, old, fresh, journals } = localCure('fails')
  await assert.rejects(applyCure({ ...cure, commands: [['false']] }, { directory: journals }))
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  assert.ok(!existsSync(fresh))
  assert.deepEqual(undoable(readJournals(journals)), [])
})

test('a command that fails says why', async () => {
  const { cure, journals } = localCure('says')
  const commands = [['sh', '-c', 'echo no such unit >&2; exit 5']]
  await assert.rejects(applyCure({ ...cure, commands }, { directory: journals }), /status 5: no such unit$/)
  const absent = [['/nonexistent/systemctl']]
  await assert.rejects(applyCure({ ...cure, commands: absent }, { directory: journals }), /could not be started$/)
})

test('of a command that goes on for too long it is not said that it failed, and the cure can be taken back', async () => {
  const { cure, old, journals } = localCure('late')
  const late = { ...cure, commands: [['sleep', '60'], ['false']] }
  const applied = await applyCure(late, { directory: journals, commandMs: 100 })
  assert.equal(applied.late, 'sleep 60')
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\nc\n')
  const [record] = undoable(readJournals(journals))
  assert.equal(record?.id, applied.id)
  assert.equal(record?.steps.at(-1)?.step, 'unknown')
  const undo = undoCure(record as NonNullable<typeof record>, { directory: journals, commandMs: 100 })
  await assert.rejects(undo, /the files are as before/)
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  assert.equal(undoable(readJournals(journals)).length, 1)
})

test('what stands for the decompressor is never that decompressor by another name', async () => {
  const [linked, hard, far, free, good, found] = ['linked', 'hard', 'far', 'free', 'good', 'found'].map(name =>
    join(directory, 'gzips', name),
  ) as [string, string, string, string, string, string]
  for (const path of [linked, hard, far, free, good, found]) mkdirSync(path, { recursive: true })
  const program = join(found, 'unpigz')
  writeFileSync(program, '', { mode: 0o755 })
  symlinkSync(program, join(linked, 'gzip'))
  linkSync(program, join(hard, 'gzip'))
  mkdirSync(join(directory, 'gzips', 'elsewhere'))
  writeFileSync(join(directory, 'gzips', 'elsewhere', 'pigz'), '', { mode: 0o755 })
  symlinkSync(join(directory, 'gzips', 'elsewhere', 'pigz'), join(far, 'gzip'))
  const [first] = engineOf().decompressors
  const decompressors = [{ ...(first as NonNullable<typeof first>), path: program }]
  const gzipOf = async (...directories: string[]) => {
    const environment = new Map([['PATH', [free, ...directories, found].join(':')]])
    const known = await readCureFacts(host, engineOf({ environment, decompressors }))
    return known.shims[0]?.gzip
  }
  assert.equal(await gzipOf(linked, hard, far), undefined)
  writeFileSync(join(directory, 'gzips', 'elsewhere', 'busybox'), '', { mode: 0o755 })
  symlinkSync(join(directory, 'gzips', 'elsewhere', 'busybox'), join(good, 'gzip'))
  assert.equal(await gzipOf(linked, hard, far, good), join(good, 'gzip'))
})

test('an engine that looks its decompressor up once has a workaround only if the shim was there before it', async () => {
  const shim = join(directory, 'remembered')
  writeFileSync(shim, formatShim('/bin/gzip', 'containerd 42'), { mode: 0o755 })
  const [first] = engineOf().decompressors
  const decompressors = [{ ...(first as NonNullable<typeof first>), path: shim }]
  const uptime = Number(host.text('/proc/uptime')?.split(' ')[0])
  const has = (seconds: number, facts: Partial<Engine>) => {
    const process = { pid: 42, startTicks: Math.round((uptime + seconds) * 100) } as Engine['process']
    return hasWorkaround(host, engineOf({ process, decompressors, ...facts }))
  }
  const hour = 3600
  const containerd = { kind: 'containerd', version: '1.6.20' } as const
  assert.equal(await has(-hour, containerd), false)
  assert.equal(await has(-hour, { version: '19.3.15' }), false)
  assert.equal(await has(-hour, {}), true)
  // By a clock that is two hours ahead the engine was started an hour after the shim came.
  const later = Object.assign(new LiveHost(), { now: () => Date.now() + 2 * hour * 1000 })
  const process = { pid: 42, startTicks: Math.round((uptime - hour) * 100) } as Engine['process']
  assert.equal(await hasWorkaround(later, engineOf({ process, decompressors, ...containerd })), true)
  writeFileSync(shim, 'another program', { mode: 0o755 })
  assert.equal(await has(-hour, {}), false)
})

test('a file whose bytes are no text is left as it is', async () => {
  const { cure, old, journals } = localCure('latin')
  const bytes = Buffer.from([0x23, 0xe9, 0x0a])
  writeFileSync(old, bytes)
  const read = (await host.disk.text(old)) ?? ''
  const settings = { path: old, content: read }
  const planned = cureOf('disable', engineOf(), { ...facts, unit: undefined, settings })
  assert.deepEqual(planned.changes, [])
  assert.match(planned.obstacle ?? '', /is not in UTF-8: put MOBY_DISABLE_PIGZ=true into it by hand/)
  const changes = [{ path: old, before: read, after: `${read}more\n`, mode: 0o644 }]
  await assert.rejects(applyCure({ ...cure, changes }, { directory: journals }), error =>
    isWindlassError(error, 'FAILED'),
  )
  assert.deepEqual(readFileSync(old), bytes)
})

test('a link that leads nowhere now is a file of somebody', async () => {
  const { cure, journals } = localCure('dangling')
  const [busy, free, found] = ['busy', 'free', 'found'].map(name => join(directory, 'dangling', name)) as [
    string,
    string,
    string,
  ]
  for (const path of [busy, free, found]) mkdirSync(path, { recursive: true })
  const link = join(busy, 'unpigz')
  symlinkSync('/nonexistent/unpigz', link)
  const [first] = engineOf().decompressors
  const decompressors = [{ ...(first as NonNullable<typeof first>), path: join(found, 'unpigz') }]
  const environment = new Map([['PATH', [busy, free, found].join(':')]])
  const { shims } = await readCureFacts(host, engineOf({ environment, decompressors }))
  assert.equal(shims[0]?.path, join(free, 'unpigz'))
  const changes = [{ path: link, before: undefined, after: 'x', mode: 0o755 }]
  await assert.rejects(applyCure({ ...cure, changes }, { directory: journals }), /it is there already/)
  assert.equal(readlinkSync(link), '/nonexistent/unpigz')
})

test('a file that came to be although its change failed is taken back, and one that was there is not', async t => {
  const { cure, old, fresh, journals } = localCure('half')
  const rename = fs.renameSync
  const broken = t.mock.method(fs, 'renameSync', (from: string, to: string) => {
    rename(from, to)
    if (to === fresh) throw Object.assign(new Error('EIO'), { code: 'EIO' })
  })
  syncBuiltinESMExports()
  await assert.rejects(applyCure(cure, { directory: journals }), /EIO/)
  broken.mock.restore()
  syncBuiltinESMExports()
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  assert.ok(!existsSync(fresh))
  mkdirSync(join(fresh, '..'), { recursive: true })
  writeFileSync(fresh, 'new\n', { flag: 'wx' })
  await assert.rejects(applyCure(cure, { directory: journals }), /it is there already/)
  assert.equal(readFileSync(fresh, 'utf8'), 'new\n')
})

test('what a cure has started ends before it is taken back, and goes on if it cannot be', async () => {
  const { cure, old, fresh, journals } = localCure('ends')
  const ended = join(directory, 'ended')
  const ends = [['cp', fresh, ended]]
  await applyCure({ ...cure, ends }, { directory: journals })
  const undo = async () => {
    const [record] = undoable(readJournals(journals))
    return await undoCure(record as NonNullable<typeof record>, { directory: journals })
  }
  writeFileSync(old, 'mine\n')
  await assert.rejects(undo(), /somebody else has changed it/)
  assert.deepEqual([existsSync(ended), existsSync(fresh)], [false, true])
  writeFileSync(old, 'a\nb\nc\n')
  await undo()
  assert.deepEqual([readFileSync(ended, 'utf8'), existsSync(fresh)], ['new\n', false])
})

test('a cure that is cancelled before its command is started is taken back', async () => {
  const { cure, old, journals } = localCure('cancelled')
  const signal = AbortSignal.abort(new Error('enough'))
  await assert.rejects(applyCure(cure, { directory: journals, signal }), /enough/)
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  assert.deepEqual(undoable(readJournals(journals)), [])
})

test('a command of which nobody waits for the end is ended itself', async () => {
  const { cure, journals } = localCure('waits')
  const abort = new AbortController()
  setTimeout(() => abort.abort(), 100)
  const late = { ...cure, commands: [['sleep', '60']] }
  const applied = await applyCure(late, { directory: journals, signal: abort.signal })
  assert.equal(applied.late, 'sleep 60')
})

test('a diff shows what comes and what goes', () => {
  assert.deepEqual(formatDiff({ path: '/f', before: 'a\nb\n', after: 'a\nb\nc\n', mode: 0 }), [
    '--- /f',
    '+++ /f',
    ' a',
    ' b',
    '+c',
  ])
  assert.deepEqual(formatDiff({ path: '/f', before: undefined, after: 'x\n', mode: 0 }), [
    '--- /dev/null',
    '+++ /f',
    '+x',
  ])
})

test('what a directory of drop-ins was before it is after, a link or empty', async () => {
  const { cure, fresh, journals } = localCure('linked')
  const [, change] = cure.changes as readonly [FileChange, FileChange]
  const only = { ...cure, changes: [change], commands: [] }
  const above = dirname(fresh)
  const real = join(directory, 'linked-real')
  const undo = async () => {
    const [record] = undoable(readJournals(journals))
    return await undoCure(record as NonNullable<typeof record>, { directory: journals })
  }
  mkdirSync(real)
  symlinkSync(real, above)
  await applyCure(only, { directory: journals })
  assert.deepEqual(await undo(), [fresh])
  assert.deepEqual([lstatSync(above).isSymbolicLink(), readdirSync(real)], [true, []])
  const failing = { ...only, commands: [['false']] }
  await assert.rejects(applyCure(failing, { directory: journals }), /^WindlassError: Cannot run false: [^.]*$/)
  assert.deepEqual([readdirSync(real), undoable(readJournals(journals))], [[], []])
  rmSync(above)
  mkdirSync(above)
  await applyCure(only, { directory: journals })
  await undo()
  assert.deepEqual(readdirSync(above), [], 'it was there, and empty')
  rmSync(above, { recursive: true })
  await applyCure(only, { directory: journals })
  await undo()
  assert.ok(!existsSync(above))
})

test('what cannot be taken back hides no failure, holds nothing else up, and is taken back later', async t => {
  const { cure, old, fresh, journals } = localCure('stuck')
  const remove = fs.rmSync
  const broken = t.mock.method(fs, 'rmSync', (path: string, options?: fs.RmOptions) => {
    if (path === fresh) throw Object.assign(new Error('EIO'), { code: 'EIO' })
    remove(path, options)
  })
  syncBuiltinESMExports()
  const failing = { ...cure, commands: [['sh', '-c', 'echo no such unit; exit 4']] }
  const error = await applyCure(failing, { directory: journals }).catch((error: unknown) => error)
  assert.ok(isWindlassError(error, 'FAILED'))
  assert.match(error.message, /status 4: no such unit\. What was changed before .*Cannot take back .*fresh\.conf: EIO/)
  assert.equal(readFileSync(old, 'utf8'), 'a\nb\n')
  const [record] = undoable(readJournals(journals))
  assert.match(error.hint ?? '', new RegExp(`--undo ${record?.id},`))
  const undo = () => undoCure(record as NonNullable<typeof record>, { directory: journals })
  await assert.rejects(undo(), /Cannot take back the change of .*fresh\.conf: EIO/)
  broken.mock.restore()
  syncBuiltinESMExports()
  await assert.rejects(undo(), (again: unknown) => {
    return (
      isWindlassError(again) && /no such unit; the files are as before/.test(again.message) && again.hint !== undefined
    )
  })
  assert.deepEqual([existsSync(fresh), undoable(readJournals(journals)).length], [false, 1])
})

test('what is called like a journal and is none is passed over, and told', () => {
  const journals = join(directory, 'strange-journals')
  {
    using journal = new Journal(journals, 'shim')
    journal.write('begin', { kind: 'shim', changes: [{}] })
  }
  const [{ id } = { id: '' }] = readJournals(journals)
  appendFileSync(join(journals, `${id}.jsonl`), 'null\n7\n[]\n')
  mkdirSync(join(journals, 'a.jsonl'))
  symlinkSync(join(journals, `${id}.jsonl`), join(journals, 'b.jsonl'))
  execFileSync('mkfifo', [join(journals, 'c.jsonl')])
  assert.deepEqual(
    undoable(readJournals(journals)).map(record => [record.id, record.steps.length]),
    [[id, 1]],
  )
  assert.deepEqual(
    listStrangers(journals),
    ['a', 'b', 'c'].map(name => join(journals, `${name}.jsonl`)),
  )
})

test('the service runs the program that installs it, and leaves the writer of a rescue alone when it is stopped', () => {
  const { after, path } = planService({ program: '/opt/a b/windlass', root: '/var/lib/windlass' })
  assert.equal(path, '/etc/systemd/system/windlass-rescue.service')
  assert.match(after, /^ExecStart=\/opt\/a\\x20b\/windlass --root \/var\/lib\/windlass doctor --watch --rescue --yes$/m)
  assert.match(after, /^KillMode=process$/m)
  const { after: counting } = planService({
    program: '/opt/windlass',
    root: '/srv',
    metrics: '/var/lib/node exporter/windlass.prom',
  })
  assert.match(counting, / --yes --metrics \/var\/lib\/node\\x20exporter\/windlass\.prom$/m)
})

test('no path is read by systemd as anything else; what it does not take is refused', () => {
  const { after } = planService({ program: '/opt/a$b%c/windlass', root: `/r/o'n "$A" %i\\ü` })
  assert.match(
    after,
    /^ExecStart=\/opt\/a\$b%%c\/windlass --root \/r\/o\\x27n\\x20\\x22\$\$A\\x22\\x20%%i\\x5cü doctor/m,
  )
  for (const program of [`/o'neil/w`, '/a"b/w', '/a\\b/w', '/a\nb/w'])
    assert.throws(() => planService({ program, root: '/r' }), /systemd does not take the path/)
  assert.throws(() => planService({ program: '/w', root: '/a\nb' }), /does not take the path "\/a\\nb"/)
})
