/** A shell script that is run here, or on another host through ssh as it is installed and configured here. */
import { type ChildProcess, spawn } from 'node:child_process'
import { WindlassError } from '../errors.ts'
import { quote } from '../oci/quote.ts'

export interface SshHost {
  readonly user: string | undefined
  readonly name: string
  readonly port: number | undefined
}

export interface ShellScript {
  readonly script: string
  /** Plain words. */
  readonly args: readonly string[]
  /** The line after which nothing more is to come: whatever still runs there then is left alone. */
  readonly lastLine: string
  readonly sizeMax: number
  /** The script gives up what hangs well before; whoever types a password has that long. */
  readonly idleMs: number
  readonly signal: AbortSignal
}

const stderrMax = 4096
const noProgram =
  'install it, or have the script of windlass doctor --emit-collector run there, and judge what it says with --from'
const connectSeconds = 15

/** @throws WindlassError USAGE for anything but ssh://[user@]host[:port] */
export function parseSshHost(text: string): SshHost {
  const found = /^ssh:\/\/(?:([\w.][\w.-]*)@)?([\w.][\w.-]*|\[[\da-fA-F:.]+(?:%\w+)?\])(?::(\d{1,5}))?\/?$/.exec(text)
  const [, user, name, port] = found ?? []
  if (name === undefined || Number(port ?? 22) > 65_535 || port === '0') {
    const message = `Cannot use option --host ${JSON.stringify(text)}: wanted ssh://[user@]host[:port]`
    throw new WindlassError('USAGE', message)
  }
  return { user, name: name.replace(/^\[|\]$/g, ''), port: port === undefined ? undefined : Number(port) }
}

/**
 * Runs it with `sh` there. ssh may ask for a password at the terminal. @returns what the script wrote on stdout
 * @throws WindlassError NETWORK, STALLED, LIMIT_EXCEEDED, CANCELLED, NOT_FOUND without an ssh
 */
export async function runOverSsh(host: SshHost, script: ShellScript): Promise<string> {
  const args = ['-T', '-o', `ConnectTimeout=${connectSeconds}`, ...addressOf(host), 'sh', '-s', ...script.args]
  return await runScript('ssh', args, script, `Cannot look at host ${host.name}`)
}

/** Runs it on this host. */
export async function runHere(script: ShellScript): Promise<string> {
  return await runScript('sh', ['-s', ...script.args], script, 'Cannot write down the facts of this host')
}

async function runScript(
  program: string,
  args: readonly string[],
  script: ShellScript,
  doing: string,
): Promise<string> {
  const { signal } = script
  signal.throwIfAborted()
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const stop = () => child.kill('SIGKILL')
  signal.addEventListener('abort', stop, { once: true })
  try {
    child.stdin.on('error', () => {}) // its end tells more
    child.stdin.end(script.script)
    return await readAnswer(child, program, script, doing)
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
    child.unref()
  }
}

function addressOf({ user, name, port }: SshHost): string[] {
  return [...(port === undefined ? [] : ['-p', String(port)]), '--', user === undefined ? name : `${user}@${name}`]
}

async function readAnswer(child: ChildProcess, program: string, script: ShellScript, doing: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const { lastLine, sizeMax, idleMs, signal } = script
  const fail = (code: 'NETWORK' | 'NOT_FOUND' | 'STALLED' | 'LIMIT_EXCEEDED', state: string) =>
    reject(new WindlassError(code, `${doing}: ${state}`, code === 'NOT_FOUND' ? { hint: noProgram } : {}))
  const idle = setTimeout(() => fail('STALLED', `${program} has been silent for ${idleMs / 1000} s`), idleMs)
  const chunks: Buffer[] = []
  let [size, stderr, tail] = [0, '', '']
  child.stdout?.on('data', (data: Buffer) => {
    idle.refresh()
    chunks.push(data)
    size += data.length
    tail = (tail + data.toString('latin1')).slice(-lastLine.length - 2)
    if (size > sizeMax) fail('LIMIT_EXCEEDED', `it sends more than ${sizeMax} bytes`)
    if (tail === `\n${lastLine}\n`) resolve(Buffer.concat(chunks).toString('utf8'))
  })
  child.stderr?.on('data', (data: Buffer) => {
    stderr = (stderr + data.toString()).slice(-stderrMax)
  })
  child.once('error', (error: NodeJS.ErrnoException) =>
    fail('NOT_FOUND', error.code === 'ENOENT' ? `there is no program ${program} here` : error.message),
  )
  child.once('close', status => {
    if (signal.aborted) return reject(signal.reason)
    const words = stderr.trim().split('\n').at(-1)?.trim().slice(0, 500) ?? ''
    fail('NETWORK', words === '' ? `${program} ended with status ${status}` : `${program} says ${quote(words)}`)
  })
  return await promise.finally(() => clearTimeout(idle))
}
