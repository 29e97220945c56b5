import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { WindlassError } from '../../errors.ts'
import type { Credential } from './credentials.ts'

/** A helper may have to wake a keychain, but one that waits for somebody to type must not hold a pull. */
const helperMs = 10_000
/** A helper answers with one small JSON object. */
const helperBytesMax = 64 * 1024

export interface HelperOptions {
  readonly deadlineMs?: number
  /** The helper's environment; that of this process if not given. It is found on the PATH in it. */
  readonly env?: NodeJS.ProcessEnv
  readonly signal: AbortSignal
}

/**
 * Asks `docker-credential-NAME get` for the credential of a server (docker-credential-helpers, "Development"): the server on
 * stdin, JSON on stdout; "credentials not found" on stdout means there is none.
 * @throws WindlassError FAILED if the helper is missing, fails, is too slow or makes no sense; CANCELLED
 */
export async function askCredentialHelper(
  name: string,
  server: string,
  options: HelperOptions,
): Promise<Credential | undefined> {
  const program = `docker-credential-${name}`
  const doing = `Cannot get credentials for ${server} from ${program}`
  // The name comes from a file and becomes a program: it must not lead out of the PATH.
  if (!/^[\w-]{1,64}$/.test(name)) {
    throw new WindlassError(
      'FAILED',
      `Cannot get credentials for ${server}: the helper's name in the configuration is not plain`,
    )
  }
  const { status, output } = await runHelper(program, server, doing, options)
  if (status === 0) return parseAnswer(output, doing)
  if (/credentials not found/i.test(output)) return undefined
  throw new WindlassError('FAILED', `${doing}: it ended with status ${status}`, {
    hint: `run '${program} list' to see why`,
  })
}

type Helper = ChildProcessByStdio<Writable, Readable, null>

async function runHelper(
  program: string,
  server: string,
  doing: string,
  { deadlineMs = helperMs, env, signal }: HelperOptions,
): Promise<{ status: number | string; output: string }> {
  if (signal.aborted) throw new WindlassError('CANCELLED', `${doing}: cancelled`)
  // A process group of its own, so that whatever the helper starts can be ended with it. What it says on stderr may hold anything.
  const child = spawn(program, ['get'], { detached: true, stdio: ['pipe', 'pipe', 'ignore'], ...(env && { env }) })
  const { promise: failed, reject } = Promise.withResolvers<never>()
  const fail = (code: 'FAILED' | 'CANCELLED', what: string) => reject(new WindlassError(code, `${doing}: ${what}`))
  const timer = setTimeout(() => fail('FAILED', `no answer within ${deadlineMs} ms`), deadlineMs)
  const cancel = () => fail('CANCELLED', 'cancelled')
  signal.addEventListener('abort', cancel, { once: true })
  child.once('error', error =>
    fail('FAILED', (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'not found' : error.message),
  )
  // It may end without reading.
  child.stdin.on('error', () => {})
  child.stdin.end(server)
  try {
    return await Promise.race([readHelper(child, doing), failed])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', cancel)
    endGroup(child)
  }
}

async function readHelper(child: Helper, doing: string): Promise<{ status: number | string; output: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<number | string>()
  const chunks: Buffer[] = []
  let size = 0
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.byteLength
    if (size > helperBytesMax)
      reject(new WindlassError('FAILED', `${doing}: more than ${helperBytesMax} bytes of answer`))
    else chunks.push(chunk)
  })
  child.once('close', (status, signalName) => resolve(status ?? signalName ?? 'unknown'))
  return { status: await promise, output: Buffer.concat(chunks).toString() }
}

function endGroup(child: Helper): void {
  child.stdout.destroy()
  child.stdin.destroy()
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The whole group has ended.
  }
  child.unref()
}

function parseAnswer(output: string, doing: string): Credential | undefined {
  let answer: { Username?: unknown; Secret?: unknown } | null
  try {
    answer = JSON.parse(output)
  } catch {
    // No cause: the text of the JSON error quotes the secret.
    throw new WindlassError('FAILED', `${doing}: its answer is not JSON`)
  }
  const { Username: username, Secret: secret } = answer ?? {}
  if (typeof username !== 'string' || typeof secret !== 'string') {
    throw new WindlassError('FAILED', `${doing}: its answer has no Username and Secret`)
  }
  if (username === '' && secret === '') return undefined
  // docker-credential-helpers: this user name marks the secret as an identity token.
  return username === '<token>' ? { identityToken: secret } : { username, password: secret }
}
