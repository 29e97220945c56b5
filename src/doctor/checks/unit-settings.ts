import type { HostView } from '../../sys/host-view.ts'
import { readSystemdGroup, slices } from '../control-groups.ts'
import type { Engine } from '../engines.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { askDocker, readDaemonFile } from '../registry-settings.ts'
import { hideInSetting, hideInText } from '../secrets.ts'
import { type CheckContext, type CheckOf, describeEngine } from './check.ts'

/** What matters for pulls. */
const told = /^(MOBY_DISABLE_PIGZ|CONTAINERD_DISABLE_\w+|PIGZ|GZIP|DOCKER_TMPDIR|TMPDIR|(?:https?|no)_proxy)$/i
/** Where systemd looks, what counts most first. */
const directories = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
]

/** Whether what stands in the files of the engine's unit, and in daemon.json, is what the running process has: a restart may be missing. */
export const unitSettings: CheckOf<'engine'> = {
  name: 'unit-settings',
  of: 'engine',
  async look(engine, context) {
    if (engine.environment === undefined) return []
    const evidence = [...(await compareUnit(engine, context)), ...(await compareDaemonFile(engine, context))]
    return evidence.length === 0 ? [] : [tell(engine, evidence)]
  },
}

function tell(engine: Engine, evidence: readonly string[]): Finding {
  return makeFinding('SETTING_NOT_LOADED', describeEngine(engine), { evidence })
}

async function compareUnit(engine: Engine, { host }: CheckContext): Promise<string[]> {
  const unit = findUnit(host, engine.process.pid)
  if (unit === undefined) return []
  const settings = await readUnit(host, unit)
  return [...settings].flatMap(([name, { value, file, isExport }]) => {
    const running = engine.environment?.get(name)
    if (running === value || (value === '' && running === undefined)) return []
    if (isExport)
      return [`${file} has export ${name}=${hideInSetting(name, value)}; systemd does not read lines that begin so`]
    const now = running === undefined ? 'has no such variable' : `has ${hideInSetting(name, running)}`
    return [`${file} sets ${name}=${hideInSetting(name, value)}; the running process ${now}`]
  })
}

/** The service of this host that a process belongs to, by its control group. What a user's own systemd has started, or one in a container, has units of the same names elsewhere. */
function findUnit(host: HostView, pid: number): string | undefined {
  const [, above = '', unit] = /^(.*)\/([^/\s]+\.service)$/.exec(readSystemdGroup(host, pid)) ?? []
  return slices.test(above) ? unit : undefined
}

interface Setting {
  readonly value: string
  readonly file: string
  /** It stands behind a word of the shell's, which systemd does not know: the line counts for nothing. */
  readonly isExport: boolean
}

/** The variables that the unit's file and its drop-ins set, the last of each; those of files of variables count more, wherever these are named. */
async function readUnit(host: HostView, unit: string): Promise<Map<string, Setting>> {
  const settings = new Map<string, Setting>()
  let variableFiles: string[] = []
  for (const file of await listFiles(host, unit)) {
    for (const [, key = '', rest = ''] of joinLines(await host.disk.text(file)).matchAll(
      /^\s*(Environment|EnvironmentFile)\s*=(.*)$/gm,
    )) {
      const isEmpty = rest.trim() === ''
      if (key === 'EnvironmentFile') variableFiles = isEmpty ? [] : [...variableFiles, rest.trim()]
      else if (isEmpty) settings.clear()
      else keep(settings, splitWords(rest), file)
    }
  }
  for (const path of variableFiles) await keepFile(host, settings, path)
  return settings
}

/** The unit's own file, the first that is there, then its drop-ins by name: of two with one name the more important. */
async function listFiles(host: HostView, unit: string): Promise<string[]> {
  const own = directories.map(directory => `${directory}/${unit}`)
  const found = await Promise.all(own.map(file => host.disk.file(file)))
  const first = own.find((_, at) => found[at] !== undefined)
  const dropIns = new Map<string, string>()
  for (const directory of directories.toReversed())
    for (const name of await host.disk.names(`${directory}/${unit}.d`))
      if (name.endsWith('.conf')) dropIns.set(name, `${directory}/${unit}.d/${name}`)
  const sorted = [...dropIns].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file)
  return first === undefined ? sorted : [first, ...sorted]
}

async function keepFile(host: HostView, settings: Map<string, Setting>, path: string): Promise<void> {
  const file = path.replace(/^-/, '')
  for (const line of joinLines(await host.disk.text(file)).split('\n')) {
    const [, before, assignment = ''] = /^(export\s+)?(.*)$/s.exec(line.trim()) ?? []
    keep(settings, [assignment.replace(/=(["'])(.*)\1$/, '=$2')], file, before !== undefined)
  }
}

function keep(settings: Map<string, Setting>, words: readonly string[], file: string, isExport = false): void {
  for (const word of words) {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/s.exec(word) ?? []
    const isSet = settings.get(name)?.isExport === false
    if (told.test(name) && !(isExport && isSet)) settings.set(name, { value, file, isExport })
  }
}

function joinLines(text: string | undefined): string {
  return (text ?? '').replace(/\\\n/g, ' ')
}

/** Words as systemd splits them: quotes around a whole assignment or its value, systemd.exec(5). */
function splitWords(text: string): string[] {
  const words = text.match(/"(?:[^"\\]|\\.)*"|'[^']*'|(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? []
  return words.map(word =>
    word
      .replace(/^(["'])(.*)\1$/s, '$2')
      .replace(/=(["'])(.*)\1$/s, '=$2')
      .replace(/\\(.)/g, '$1')
      .replaceAll('%%', '%'),
  )
}

/** dockerd tells what it runs with; its proxies only with what is secret left out, so these are not compared. */
async function compareDaemonFile(engine: Engine, { host }: CheckContext): Promise<string[]> {
  if (engine.kind !== 'dockerd') return []
  const [file, running] = await Promise.all([readDaemonFile(host, engine), askDocker(host, engine)])
  if (file === undefined || running === undefined) return []
  const mirrors = running.mirrors.map(mirror => mirror.replace(/\/$/, ''))
  const missing = [
    ...file.insecure.filter(name => !running.insecure.includes(name)).map(name => `insecure-registries ${name}`),
    ...file.mirrors
      .filter(name => !mirrors.includes(name.replace(/\/$/, '')))
      .map(name => `registry-mirrors ${hideInText(name)}`),
  ]
  return missing.map(what => `${file.path} has ${what}; the running daemon does not`)
}
