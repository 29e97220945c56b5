import type { Lookup } from '../../sys/name-servers.ts'
import type { FindingCode } from '../catalogue.ts'
import { type Finding, makeFinding } from '../finding.ts'
import { parseHosts } from '../hosts-file.ts'
import type { RegistryVisit } from '../registry-visit.ts'
import type { CheckContext, CheckOf } from './check.ts'
import { afterView } from './registry-view.ts'
import { describeVisit, formatMs } from './registry-words.ts'

interface Answer extends Lookup {
  readonly server: string
}

/** The C library and Go ask no more of them. */
const serversMax = 3

/** For what needs its addresses. */
export const afterName = [
  ...afterView,
  { check: 'registry-name', unless: ['NAME_UNKNOWN', 'NAME_SERVERS_SILENT'] },
] as const

/** Whether the engine can find the address of the registry, or of the proxy before it: by its own hosts and resolv.conf, in its own root. */
export const registryName: CheckOf<'registry'> = {
  name: 'registry-name',
  of: 'registry',
  after: afterView,
  async look(visit, context) {
    const name = nameToFind(visit)
    if (isAddress(name) || name === 'localhost') return []
    const prefix = visit.engine?.rootPrefix ?? ''
    if (await isInHosts(context, prefix, name)) return fine(visit, `${name} is in ${prefix}/etc/hosts`)
    const servers = parseServers(await context.host.disk.text(`${prefix}/etc/resolv.conf`))
    if (servers.length === 0) {
      const evidence = [`${prefix}/etc/resolv.conf names no server, and ${name} is not in ${prefix}/etc/hosts`]
      return [makeFinding('NAME_UNKNOWN', describeVisit(visit), { evidence, confidence: 'likely' })]
    }
    return judge(visit, name, await askAll(context, name, servers))
  },
}

/** The addresses that the engine would find, without any judgement. */
export async function addressesOf(visit: RegistryVisit, context: CheckContext): Promise<string[]> {
  const name = nameToFind(visit)
  if (isAddress(name)) return [name]
  const prefix = visit.engine?.rootPrefix ?? ''
  const listed = (await readHosts(context, prefix)).filter(([, ...names]) => names.includes(name))
  if (listed.length > 0) return listed.map(([address]) => address)
  const servers = parseServers(await context.host.disk.text(`${prefix}/etc/resolv.conf`))
  const answers = await askAll(context, name, servers.slice(0, 1))
  return answers.flatMap(({ addresses }) => addresses)
}

/** As URL writes addresses. */
function isAddress(name: string): boolean {
  return name.includes(':') || /^\d+(?:\.\d+){3}$/.test(name)
}

/** Behind a proxy it is the proxy that finds the registry. */
function nameToFind({ host, proxy }: RegistryVisit): string {
  return new URL(`https://${proxy ?? host}`).hostname.replace(/^\[(.*)\]$/, '$1')
}

async function isInHosts(context: CheckContext, prefix: string, name: string): Promise<boolean> {
  const lines = await readHosts(context, prefix)
  return lines.some(([, ...names]) => names.includes(name))
}

async function readHosts({ host }: CheckContext, prefix: string): Promise<ReturnType<typeof parseHosts>> {
  return parseHosts((await host.disk.text(`${prefix}/etc/hosts`)) ?? '')
}

function parseServers(text: string | undefined): string[] {
  const servers = [...(text ?? '').matchAll(/^\s*nameserver\s+([\d.a-fA-F:]+)/gm)].map(([, server = '']) => server)
  return servers.slice(0, serversMax)
}

async function askAll({ host, signal }: CheckContext, name: string, servers: readonly string[]): Promise<Answer[]> {
  const ask = async (server: string) => ({ server, ...(await host.network?.lookUp(name, server, signal)) })
  return (await Promise.all(servers.map(ask))).filter((answer): answer is Answer => 'outcome' in answer)
}

function judge(visit: RegistryVisit, name: string, answers: readonly Answer[]): Finding[] {
  const evidence = answers.map(describe)
  const tell = (code: FindingCode) => [
    makeFinding(code, describeVisit(visit), { evidence: [`asked for ${name}:`, ...evidence] }),
  ]
  const found = answers.find(({ outcome }) => outcome === 'found')
  const first = answers[0]
  if (found === undefined)
    return tell(answers.every(({ outcome }) => outcome === 'silent') ? 'NAME_SERVERS_SILENT' : 'NAME_UNKNOWN')
  if (first?.outcome === 'silent') return tell('NAME_SERVER_SILENT')
  return fine(visit, `${name}: ${evidence[0] ?? ''}`)
}

function fine(visit: RegistryVisit, text: string): Finding[] {
  return [makeFinding('NAME_FOUND', describeVisit(visit), { evidence: [text] })]
}

function describe({ server, outcome, addresses, code, tookMs }: Answer): string {
  if (outcome === 'found') return `${server} says ${addresses.slice(0, 4).join(', ')} (${formatMs(tookMs)})`
  const words = { unknown: 'knows no such name', silent: 'did not answer', failed: 'could not answer' }
  return `${server} ${words[outcome]} (${code ?? ''}, ${formatMs(tookMs)})`
}
