/** The evidence in one file, for whoever is not at the host: a tar of JSON and text, compressed. */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { tarEnd, tarHeader, tarPadding } from '../tar/writer.ts'
import type { Diagnosis } from './diagnose.ts'
import { type Engine, hidePassword } from './engines.ts'

/** What of an environment says something about pulls; anything else may be a secret. */
const toldVariables =
  /^(PATH|LANG|LC_ALL|TMPDIR|DOCKER_TMPDIR|GODEBUG|GOMAXPROCS|PIGZ|GZIP|MOBY_\w+|CONTAINERD_\w+|(https?|no|all)_proxy)$/i

/** @param about what is known of the host and the program beside, as JSON */
export async function makeBundle(diagnosis: Diagnosis, about: Readonly<Record<string, unknown>>): Promise<Buffer> {
  const { engines, findings, lines, dumps } = diagnosis
  const files: [name: string, text: string][] = [
    ['about.json', formatJson(about)],
    ['engines.json', formatJson(engines.map(describeEngine))],
    ['findings.json', formatJson(findings)],
    ['looks.json', formatJson(lines.map(({ line, looks }) => ({ ...line, engine: line.engine.process.pid, looks })))],
    ...[...dumps].map(([pid, dump]): [string, string] => [`goroutines-${pid}.txt`, dump]),
  ]
  const parts = files.flatMap(([name, text]) => packFile(`windlass-doctor/${name}`, Buffer.from(text)))
  return await promisify(gzip)(Buffer.concat([...parts, tarEnd]))
}

function describeEngine({ process, environment, args, ...engine }: Engine) {
  const told = [...(environment ?? [])].filter(([name]) => toldVariables.test(name))
  return {
    ...engine,
    process,
    args: args.map(hidePassword),
    environment: Object.fromEntries(told.map(([name, value]) => [name, hidePassword(value)])),
  }
}

function packFile(name: string, data: Buffer): Uint8Array[] {
  const fields = { name: Buffer.from(name), type: 'file', mode: 0o644, uid: 0, gid: 0, mtimeNs: 0n } as const
  return [tarHeader({ ...fields, size: data.length }), data, tarPadding(data.length)]
}

function formatJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 1)}\n`
}
