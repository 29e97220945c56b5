/** Hosts on which nothing is installed: a shell script writes down what the doctor would look at, and it is judged here. */
import { readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { WindlassError, wrapError } from '../errors.ts'
import { factsMax, RecordedHost } from '../sys/recorded-host.ts'
import { parseSshHost, runHere, runOverSsh, type ShellScript, type SshHost } from '../sys/ssh.ts'
import { hungTask, kernelLog } from './checks/hung-tasks.ts'
import { redactionScript } from './secrets.ts'

export { parseSshHost }

/** The script says nothing for so long only if it cannot: its own waits are a tenth of that. Whoever types a password has the time. */
const idleMs = 60_000

/** For any POSIX shell. */
export function collectorScript(): string {
  const script = readFileSync(fileURLToPath(new URL('collector.sh', import.meta.url)), 'utf8')
  return script
    .replace(/^#: redact .*$/m, () => redactionScript())
    .replace(/^#: kernel_log .*$/m, () => `kernel_log="${kernelLog}"\nhung_task='${hungTask}'`)
}

export interface CollectOptions {
  /** Of the only engine that is wanted. */
  readonly pid: number | undefined
  readonly signal: AbortSignal
}

/** Takes ten seconds, two where no pull is under way. */
export async function collectFrom(host: SshHost, options: CollectOptions): Promise<RecordedHost> {
  return new RecordedHost(await runOverSsh(host, collection(options)))
}

/** The facts of this host, for others to judge. */
export async function collectHere(options: CollectOptions): Promise<string> {
  return await runHere(collection(options))
}

function collection({ pid, signal }: CollectOptions): ShellScript {
  const args = pid === undefined ? [] : [String(pid)]
  return { script: collectorScript(), args, lastLine: 'z', sizeMax: factsMax, idleMs, signal }
}

/** Reads a file that the script has written, also compressed with gzip. @throws WindlassError NOT_FOUND, CORRUPT, LIMIT_EXCEEDED */
export async function readFactsFile(path: string): Promise<RecordedHost> {
  const doing = `Cannot read the facts of a host from ${JSON.stringify(path)}`
  try {
    return new RecordedHost(await readText(path, doing))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new WindlassError('NOT_FOUND', `${doing}: there is no such file`, { hint: 'check the path' })
    throw wrapError(error, doing)
  }
}

async function readText(path: string, doing: string): Promise<string> {
  await using file = await open(path)
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > factsMax) throw new WindlassError('LIMIT_EXCEEDED', `${doing}: it is larger than ${factsMax} bytes`)
    chunks.push(chunk)
  }
  const bytes = Buffer.concat(chunks)
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b
  return decode(isPacked ? await promisify(gunzip)(bytes, { maxOutputLength: factsMax }) : bytes)
}

/** PowerShell's `>` writes UTF-16. */
function decode(bytes: Buffer): string {
  const isWide = bytes[0] === 0xff && bytes[1] === 0xfe
  return bytes.toString(isWide ? 'utf16le' : 'utf8')
}
