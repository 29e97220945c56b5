import { resolve } from 'node:path'
import type { Certificate } from '../../codec/external/certificates.ts'
import type { ExternalProgram } from '../../codec/external/programs.ts'
import { languageOf, type Severity } from '../../doctor/catalogue.ts'
import type { Diagnosis } from '../../doctor/diagnose.ts'
import { type Engine, settingsOf } from '../../doctor/engines.ts'
import { WindlassError, wrapFileError } from '../../errors.ts'
import type { HostView } from '../../sys/host-view.ts'
import type { RecordedHost } from '../../sys/recorded-host.ts'
import { type Context, defineCommand } from '../command.ts'
import { checkOptions } from '../doctor/check-options.ts'
import { printFindings, withWords } from '../doctor/print.ts'
import { watch } from '../doctor/watch.ts'
import { writeJson, writeNote, writeWarning } from '../output.ts'

export const command = defineCommand({
  description:
    'Looks at the container engines that run on this host (dockerd, containerd, podman, CRI-O, buildkitd) and says what holds up their pulls: which ' +
    'process of which pull stands still, why, and on what evidence. All is read from /proc and the sockets of the engines; nothing is changed, ' +
    'stopped or traced. It takes two seconds, and up to ten where something stands still and has to be watched.\n' +
    'Beside the pulls it looks at the settings of the engines as they are in the running processes, their decompressors, disks, control groups, and ' +
    'agents that are asked before files are opened. What cannot be seen without root is said. Nothing is sent to a registry that you do not name, but for a layer that --rescue or an image that --fix brings in: from there a client of your own user pulls it.\n' +
    'With --rescue a pull whose decompressor is stuck is brought to its end: what the decompressor owes is decoded here and written in its place, and it is made to leave; the engine goes on, and ' +
    'its client gets the image. What will be done is shown first, and asked for. Nothing is done where it is not sure.\n' +
    'Findings and their evidence are told in Chinese where LC_ALL, LC_MESSAGES or LANG say so; codes and facts are the same.',
  operands: [],
  options: {
    verbose: { type: 'boolean', short: 'v', summary: 'show all findings, with their evidence' },
    pid: {
      type: 'integer',
      value: 'PID',
      min: 1,
      summary:
        'look at the engine with this process alone; with --rescue also one decompressor, whatever the doctor thinks of it',
    },
    bundle: {
      type: 'string',
      value: 'FILE.tar.gz',
      summary: 'also keep all evidence in a file: findings, looks, dumps of goroutines; no secrets',
    },
    image: {
      type: 'string',
      value: 'REF',
      summary:
        'also try the registry of this image as the engines would reach it: name, proxy, TLS, access, ranges, speed, MTU; with --rescue and --fix, the image whose pull hangs',
    },
    registry: { type: 'string', value: 'HOST[:PORT]', summary: 'the same for a registry alone, without an image' },
    try: {
      type: 'boolean',
      summary:
        'also try what takes time or writes: each decompressor of the engines, and how long a nameless small file takes to be on the disk',
    },
    rescue: {
      type: 'boolean',
      summary: 'bring pulls whose decompressor is stuck to their end: do what it has left undone, and let it leave',
    },
    metrics: {
      type: 'string',
      value: 'FILE',
      summary:
        'with --watch --rescue, and --install-service: keep counts in this file, as the textfile collector of Prometheus reads them',
    },
    'give-up': {
      type: 'integer',
      value: 'SECONDS',
      min: 1,
      max: 86_400,
      summary: 'with --watch --rescue: give up a rescue in which nothing has moved for so long; 180 if absent',
    },
    'install-service': {
      type: 'boolean',
      summary: 'have systemd run --watch --rescue on this host; --undo takes it back',
    },
    fixes: {
      type: 'boolean',
      summary: 'list what can be done so that the next pull does not hang, and what was done here',
    },
    fix: {
      type: 'string',
      value: 'ID',
      summary:
        'do one of these: deliver-ENGINE, which brings the image in that hangs; shim-ENGINE, disable-ENGINE, restart-ENGINE; or kill-PID for a decompressor that the doctor calls stuck',
    },
    undo: {
      type: 'string',
      value: 'ID',
      summary: 'take back what --fix has done, by the name that it told, or the last',
    },
    'dry-run': { type: 'boolean', summary: 'with --rescue, --fix and --undo: say what would be done, and do nothing' },
    yes: { type: 'boolean', short: 'y', summary: 'with --rescue, --fix and --undo: do not ask' },
    report: { type: 'string', value: 'FILE', summary: 'also write it as one page (.html) or as data (.json)' },
    host: {
      type: 'string',
      value: 'ssh://[USER@]HOST[:PORT]',
      summary: 'look at another host, on which nothing need be installed: a shell script is run there through ssh',
    },
    from: { type: 'string', value: 'FILE', summary: 'judge what --emit-collector has written elsewhere' },
    'emit-collector': {
      type: 'boolean',
      summary: 'print a shell script that writes down the facts of the host on which it is run',
    },
    watch: {
      type: 'boolean',
      summary:
        'look again and again, and print what changes, without writing files; with --rescue also rescue what is found, without asking; ends with a signal',
    },
  },
  examples: [
    { line: 'windlass doctor', does: 'Say in one screen what is well and what is not.' },
    { line: 'windlass doctor -v', does: 'See the evidence for everything.' },
    { line: 'windlass doctor --bundle evidence.tar.gz', does: 'Keep the evidence for somebody else.' },
    {
      line: 'windlass doctor --image registry.example.com:5000/team/app:1',
      does: 'Try its registry as the engines that run here would reach it.',
    },
    { line: 'windlass doctor --host ssh://root@node7', does: 'Look at a host on which windlass is not installed.' },
    {
      line: 'windlass doctor --emit-collector >collect.sh',
      does: 'For a host that cannot be reached: there sh collect.sh >facts.txt, and here windlass doctor --from facts.txt.',
    },
    { line: 'windlass doctor --json | jq .findings', does: 'Use it in a program.' },
    { line: 'windlass doctor --rescue', does: 'Bring a pull that hangs to its end, after a question.' },
  ],
  exits: [
    '0  nothing is wrong',
    '2  no engine is the process of --pid',
    '10  warnings',
    '11  a problem: a pull stands still, or will',
  ],
  async run(context, _operands, options) {
    checkOptions(options)
    if (options['emit-collector']) return await emitCollector(context)
    const { diagnose } = await import('../../doctor/diagnose.ts')
    const [{ LiveHost }, { ownDiskSlots }] = await Promise.all([
      import('../../sys/host-view.ts'),
      import('../../sys/disk-slots.ts'),
    ])
    // For whatever looks at this host from here on.
    ownDiskSlots(Number(context.env['UV_THREADPOOL_SIZE']) || undefined)
    if (options.rescue && options.watch) {
      const { serveRescues } = await import('../doctor/rescue-service.ts')
      return await serveRescues(context, new LiveHost(), options)
    }
    if (options.rescue) {
      const { rescue } = await import('../doctor/rescue.ts')
      return await rescue(context, new LiveHost(), options)
    }
    if (options['install-service']) {
      const { installService } = await import('../doctor/cures.ts')
      return await installService(context, new LiveHost(), options)
    }
    if (options.fixes || options.fix !== undefined || options.undo !== undefined) {
      const { fix, listCures, undo } = await import('../doctor/cures.ts')
      if (options.fix !== undefined) return await fix(context, new LiveHost(), options.fix, options)
      if (options.undo !== undefined) return await undo(context, options.undo, options)
      await listCures(context, new LiveHost(), options)
      return 0
    }
    const { signal, env } = context
    for (const name of ['report', 'bundle'] as const) if (options.watch) refuseWhileWatching(name, options[name])
    const openHost = await chooseHost(context, options)
    await using report = options.report === undefined ? undefined : await openReport(context, options.report, options)
    if (options.bundle !== undefined) await checkBundle(options.bundle)
    const facts = options.bundle === undefined ? undefined : factsFor(options, signal)
    const language = languageOf(env)
    const registry = await readRegistry(context, options)
    const visit = async () => {
      const { host, verdictOf } = await openHost()
      return await diagnose(host, { signal, pid: options.pid, registry, mayTry: options.try, verdictOf })
    }
    if (options.watch) return await watch(context, visit, { language })
    const diagnosis = await visit()
    const { engines, findings, worst, skipped, took } = diagnosis
    await report?.write(diagnosis)
    if (options.bundle !== undefined) await writeBundle(context, options.bundle, { diagnosis, facts: await facts })
    if (context.json)
      writeJson(context, { engines: engines.map(describe), findings: findings.map(withWords(language)), skipped, took })
    else printFindings(context, findings, { language, verbose: options.verbose, skipped, took })
    return exitOf(worst)
  },
})

async function emitCollector({ stdout }: Context): Promise<undefined> {
  const { collectorScript } = await import('../../doctor/collector.ts')
  stdout.write(collectorScript())
}

/** @throws WindlassError USAGE */
function refuseWhileWatching(name: string, value: string | undefined): void {
  if (value === undefined) return
  const hint = `run windlass doctor --${name} FILE beside it when something is told`
  throw new WindlassError('USAGE', `Cannot use option --${name} with --watch: a file holds one look`, { hint })
}

type Verdicts = (path: string, mayTry: boolean) => Promise<string | undefined>

interface Patient {
  readonly host: HostView
  /** What probes on this host found says nothing about another. */
  readonly verdictOf?: Verdicts | undefined
}

interface Places {
  readonly pid: number | undefined
  readonly host: string | undefined
  readonly from: string | undefined
  readonly watch: boolean
  readonly try: boolean
  readonly image: string | undefined
  readonly registry: string | undefined
}

/** @returns what gives the host as it is at that moment */
async function chooseHost(context: Context, places: Places): Promise<() => Promise<Patient>> {
  const { host, from, watch } = places
  const tried = places.try || places.image !== undefined || places.registry !== undefined
  if (tried && (host ?? from) !== undefined) {
    const message =
      'Cannot use --try, --image and --registry with --host and --from: they would try this host, not that one'
    throw new WindlassError('USAGE', message)
  }
  if (from !== undefined && (host !== undefined || watch)) {
    const other = watch ? '--watch' : '--host'
    throw new WindlassError('USAGE', `Cannot use option --from with ${other}: a file holds one host at one time`)
  }
  if (from !== undefined) return async () => ({ host: openRecord(context, await readFacts(from)) })
  if (host !== undefined) {
    const { collectFrom, parseSshHost } = await import('../../doctor/collector.ts')
    const parsed = parseSshHost(host)
    return async () => ({
      host: openRecord(context, await collectFrom(parsed, { pid: places.pid, signal: context.signal })),
    })
  }
  const { LiveHost } = await import('../../sys/host-view.ts')
  return async () => ({ host: new LiveHost(), verdictOf: await readVerdicts(context) })
}

async function readFacts(path: string): Promise<RecordedHost> {
  const { readFactsFile } = await import('../../doctor/collector.ts')
  return await readFactsFile(path)
}

/** Says what the record lacks. */
function openRecord(context: Context, record: RecordedHost): RecordedHost {
  const { missing, isWhole, only } = record
  const say = noteWords[languageOf(context.env)]
  if (!isWhole) writeWarning(context, say.cut)
  // A script that was given a process has looked at no other: without this word the rest would seem to be well.
  if (only !== undefined) writeNote(context, say.only(only))
  if (missing.length > 0) writeNote(context, say.missing(missing))
  return record
}

/** What is said beside the findings. */
const noteWords = {
  en: {
    cut: 'the facts end early: the collector was stopped, or the file was cut',
    only: (pid: number) => `These are facts about process ${pid} alone: other engines were not looked at`,
    missing: (programs: readonly string[]) => `That host has no ${programs.join(', no ')}: less could be seen`,
    noFacts: 'The facts of the host itself are not in it: they could not be collected',
    bundle: (path: string) => `The evidence is in ${path}`,
  },
  zh: {
    cut: '记录提前结束：收集脚本被中止，或文件被截断',
    only: (pid: number) => `这些只是关于进程 ${pid} 的记录：没有查看其他引擎`,
    missing: (programs: readonly string[]) => `该主机没有 ${programs.join('、')}：能看到的较少`,
    noFacts: '其中没有主机本身的记录：无法收集',
    bundle: (path: string) => `证据在 ${path} 中`,
  },
} as const

/** Whether it can be written is known before anybody is looked at. */
async function openReport(context: Context, path: string, options: Places) {
  const [{ ReportFile }, { makeDoctorReport, renderDoctorPage }, { readHostFacts }, { formatCommand, formatWords }] =
    await Promise.all([
      import('../report/file.ts'),
      import('../report/doctor-page.ts'),
      import('../report/host.ts'),
      import('../report/report.ts'),
    ])
  const file = await ReportFile.open(path, renderDoctorPage)
  const { host, from, pid } = options
  const about = {
    command: formatWords(formatCommand('doctor', { host, from, pid }, [])),
    host: readHostFacts(),
    language: languageOf(context.env),
  }
  return {
    write: (diagnosis: Diagnosis) =>
      file.write(makeDoctorReport(diagnosis, { ...about, madeAt: new Date().toISOString() })),
    [Symbol.asyncDispose]: () => file.close(),
  }
}

const exits: Readonly<Record<Severity, number>> = { problem: 11, warning: 10, unseen: 10, note: 0, ok: 0 }

function exitOf(worst: Severity): number {
  return exits[worst]
}

/** Of this host; what was written down elsewhere is kept by whoever has it. */
async function factsFor({ host, from, pid }: Places, signal: AbortSignal): Promise<string | undefined> {
  if (host !== undefined || from !== undefined) return undefined
  const { collectHere } = await import('../../doctor/collector.ts')
  return await collectHere({ pid, signal }).catch(() => undefined)
}

interface BundleParts {
  readonly diagnosis: Diagnosis
  readonly facts: string | undefined
}

async function writeBundle(context: Context, path: string, { diagnosis, facts }: BundleParts): Promise<void> {
  const [{ makeBundle }, { readHostFacts }] = await Promise.all([
    import('../../doctor/bundle.ts'),
    import('../report/host.ts'),
  ])
  const about = { madeAt: new Date().toISOString(), host: readHostFacts() }
  const find = await readCertificates(context)
  const paths = new Set(diagnosis.engines.flatMap(({ decompressors }) => decompressors.map(({ path }) => path)))
  const found = await Promise.all([...paths].map(path => (path === undefined ? {} : find(path))))
  const probes = found.flatMap(({ certificate }: KnownProgram) => certificate ?? [])
  await writePrivately(path, await makeBundle(diagnosis, { about, facts, probes }))
  const say = noteWords[languageOf(context.env)]
  if (facts === undefined) writeNote(context, say.noFacts)
  writeNote(context, say.bundle(path))
}

async function checkBundle(path: string): Promise<void> {
  const { checkPlace } = await import('../report/file.ts')
  await checkPlace(resolve(path), `Cannot write the bundle ${JSON.stringify(path)}`)
}

/** A disk that is busy takes it in that time; one that does not answer must not hold the end. */
const writeMs = 30_000

/** For its owner alone, also where a file of that name was open to others; whole, or not there. */
async function writePrivately(path: string, data: Uint8Array): Promise<void> {
  const { rename, rm, writeFile } = await import('node:fs/promises')
  const part = `${path}.${process.pid}.part`
  const write = async () => {
    await rm(part, { force: true })
    try {
      await writeFile(part, data, { mode: 0o600, flag: 'wx' })
      await rename(part, path)
    } catch (error) {
      await rm(part, { force: true }).catch(() => {})
      throw error
    }
  }
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(late.reject, writeMs, new Error(`the disk has not taken it within ${writeMs / 1000} s`))
  try {
    await Promise.race([write(), late.promise])
  } catch (error) {
    throw wrapFileError(error, `Cannot write the bundle ${JSON.stringify(path)}`)
  } finally {
    clearTimeout(timer)
  }
}

/** @throws WindlassError USAGE if both are given, or what is given is no registry */
async function readRegistry(
  context: Context,
  { image, registry }: { readonly image?: string | undefined; readonly registry?: string | undefined },
) {
  if (image !== undefined && registry !== undefined)
    throw new WindlassError('USAGE', 'Cannot try --image and --registry at once: an image names its registry')
  if (image === undefined && registry === undefined) return undefined
  const [{ parseReference, registryHost }, { openCredentials }] = await Promise.all([
    import('../../oci/reference.ts'),
    import('../credentials.ts'),
  ])
  const credentials = await openCredentials(context)
  const reference = image === undefined ? undefined : parseReference(image)
  const host = reference === undefined ? (registry ?? '') : registryHost(reference)
  if (/^[\w.:[\]-]+$/.test(host) && URL.canParse(`https://${host}`)) return { host, reference, credentials }
  throw new WindlassError('USAGE', `Cannot try registry ${JSON.stringify(host)}: wanted host or host:port`)
}

/** What a probe found out about a program; one that nothing is known of is probed for this visit alone. */
async function readVerdicts(context: Context): Promise<Verdicts> {
  const find = await readCertificates(context)
  let prober: ReturnType<typeof startProber> | undefined
  return async (path, mayTry) => {
    const { program, certificate } = await find(path)
    if (certificate !== undefined || program === undefined || !mayTry) return certificate?.verdict
    prober ??= startProber(context.signal)
    const probe = await prober
    return await probe(program)
  }
}

interface KnownProgram {
  readonly program?: ExternalProgram | undefined
  readonly certificate?: Certificate | undefined
}

/** What an earlier probe found out about a program, as long as it still holds. */
async function readCertificates({ root }: Context): Promise<(path: string) => Promise<KnownProgram>> {
  const [{ Certificates }, { findPrograms, isProgramName }] = await Promise.all([
    import('../../codec/external/certificates.ts'),
    import('../../codec/external/programs.ts'),
  ])
  const known = await Certificates.read(root)
  return async path => {
    const [, directory = '/', name = ''] = /^(.*)\/([^/]+)$/.exec(path) ?? []
    if (!isProgramName(name)) return {}
    const { programs } = await findPrograms(directory || '/', [name])
    const [program] = programs
    return { program, certificate: program === undefined ? undefined : await known.find(program) }
  }
}

/** One program after the other, each once: several at a time would disturb each other. */
async function startProber(signal: AbortSignal) {
  const { Prober } = await import('../../codec/external/certify.ts')
  const prober = new Prober({ signal })
  const known = new Map<string, Promise<string>>()
  let last: Promise<unknown> = Promise.resolve()
  return (program: ExternalProgram): Promise<string> => {
    const probed = known.get(program.path) ?? last.then(async () => (await prober.probe(program)).verdict)
    known.set(program.path, probed)
    last = probed.catch(() => {})
    return probed
  }
}

function describe(engine: Engine) {
  const { kind, process, program, version, dataRoot, sockets, decompressors, isOpen } = engine
  const environment = settingsOf(engine)
  return { kind, pid: process.pid, program, version, dataRoot, sockets, environment, decompressors, isOpen }
}
