/** The evidence in one file, for whoever is not at the host: a tar of JSON and text, compressed. */
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Certificate } from '../codec/external/certificates.ts'
import { compressionOf } from '../codec/external/programs.ts'
import { makeShapes } from '../codec/external/shapes.ts'
import { tarEnd, tarHeader, tarPadding } from '../tar/writer.ts'
import type { Diagnosis } from './diagnose.ts'
import { type Engine, settingsOf } from './engines.ts'
import type { Line } from './lines.ts'
import type { LineWatch } from './sample.ts'
import { hideInWords } from './secrets.ts'

export interface Evidence {
  /** What is known of the host and the program beside, as JSON. */
  readonly about: Readonly<Record<string, unknown>>
  /** What the collector wrote down meanwhile; undefined if it failed. */
  readonly facts: string | undefined
  /** What probes found out about the decompressors of the engines. */
  readonly probes: readonly Certificate[]
}

/** `windlass doctor --from` reads it again: the facts come first, on lines of their own. */
export async function makeBundle(diagnosis: Diagnosis, { about, facts, probes }: Evidence): Promise<Buffer> {
  const { engines, findings, lines, dumps } = diagnosis
  const files: [name: string, data: string | Uint8Array][] = [
    ...(facts === undefined ? [] : [['facts.txt', `\n${facts}`] as [string, string]]),
    ['about.json', formatJson(about)],
    ['engines.json', formatJson(engines.map(describeEngine))],
    ['findings.json', formatJson(findings)],
    ['looks.json', formatJson(lines.map(describeLooks))],
    ...[...dumps].map(([pid, dump]): [string, string] => [`goroutines-${pid}.txt`, dump]),
    ['probes.json', formatJson(probes)],
    ...failingInputs(probes),
  ]
  const parts = files.flatMap(([name, data]) => packFile(`windlass-doctor/${name}`, Buffer.from(data)))
  return await promisify(gzip)(Buffer.concat([...parts, tarEnd]))
}

/** Without what belongs to the engine. */
export function describeLooks({
  line,
  looks,
}: LineWatch): Omit<Line, 'engine'> & { engine: number; looks: LineWatch['looks'] } {
  return { ...line, engine: line.engine.process.pid, looks }
}

/** Without what may be a secret. */
export function describeEngine({ process, environment, args, ...engine }: Engine) {
  return {
    ...engine,
    process,
    args: hideInWords(args),
    environment: settingsOf({ environment }),
  }
}

/** The streams that a decompressor failed on: they are made in code, the same each time. */
function failingInputs(probes: readonly Certificate[]): [name: string, data: Uint8Array][] {
  return probes.flatMap(({ name, problems }) => {
    const compression = compressionOf(name)
    const shapes = problems.length === 0 || compression === undefined ? [] : makeShapes(compression)
    const failed = shapes.filter(shape => problems.some(problem => problem.shape === shape.name))
    return failed.map(({ name: shape, compressed }): [string, Uint8Array] => [
      `probes/${name}/${shape.replace(/\W+/g, '-')}`,
      compressed,
    ])
  })
}

function packFile(name: string, data: Buffer): Uint8Array[] {
  const fields = { name: Buffer.from(name), type: 'file', mode: 0o644, uid: 0, gid: 0, mtimeNs: 0n } as const
  return [tarHeader({ ...fields, size: data.length }), data, tarPadding(data.length)]
}

function formatJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 1)}\n`
}
