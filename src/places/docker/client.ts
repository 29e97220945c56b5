import http from 'node:http'
import { connect as connectTcp, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { engineSpaceHint, isWindlassError, WindlassError } from '../../errors.ts'
import { withIdle } from '../../flow/idle.ts'
import { parseJson, parseJsonObject, readString } from '../../oci/json.ts'
import { quote } from '../../oci/quote.ts'
import { openCommandStream } from '../../sys/command-stream.ts'
import { type DockerEndpoint, formatEndpoint, type TlsFiles } from './endpoint.ts'
import { answerBytesMax, apiMax, apiMin, type DockerTimeouts, defaultDockerTimeouts } from './limits.ts'

export interface ClientOptions {
  /** For ssh; `DOCKER_API_VERSION` is honoured. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly timeouts?: Partial<DockerTimeouts>
}

export interface DockerRequest {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  /** With its query, without the version. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent chunk by chunk, as fast as the daemon takes it. */
  readonly body?: AsyncIterable<Uint8Array>
  readonly signal: AbortSignal
  /** What is being done, for messages: "Cannot load image into docker". */
  readonly doing: string
  /** Until the headers of the answer, once the body is sent. */
  readonly answerMs?: number
}

/** An answer whose body flows. */
export interface DockerAnswer extends Disposable {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly bytes: AsyncIterable<Uint8Array>
}

/** A docker daemon's API (docs.docker.com, "Engine API"), over whatever leads to it. */
export class DockerClient implements Disposable {
  readonly name: string
  readonly timeouts: DockerTimeouts
  readonly #agent: http.Agent
  #version = ''

  private constructor(endpoint: DockerEndpoint, options: ClientOptions) {
    this.name = `docker at ${formatEndpoint(endpoint)}`
    this.timeouts = { ...defaultDockerTimeouts, ...options.timeouts }
    this.#agent = new EndpointAgent(() => this.#connect(endpoint, options))
  }

  /**
   * Reaches the daemon and agrees on a version.
   * @throws WindlassError ENGINE_UNREACHABLE, PERMISSION, TLS, UNSUPPORTED (older than docker 19.03)
   */
  static async connect(
    endpoint: DockerEndpoint,
    options: ClientOptions & { signal: AbortSignal },
  ): Promise<DockerClient> {
    const client = new DockerClient(endpoint, options)
    try {
      await client.#agree(options)
      return client
    } catch (error) {
      client[Symbol.dispose]()
      throw error
    }
  }

  /** A request whose answer is read as JSON; undefined for a 404. @throws WindlassError of what the daemon says */
  async getJson(request: DockerRequest): Promise<unknown> {
    using answer = await this.send(request)
    const bytes = await this.#readAll(answer, request.doing)
    if (answer.status === 404) return undefined
    checkStatus(answer.status, bytes, request.doing)
    return bytes.length === 0 ? null : parseJson(bytes.toString(), "docker's answer")
  }

  /** A request whose answer is a stream. @throws WindlassError of what the daemon says */
  async stream(request: DockerRequest): Promise<DockerAnswer> {
    const answer = await this.send(request)
    if (answer.status < 400) return answer
    try {
      checkStatus(answer.status, await this.#readAll(answer, request.doing), request.doing)
      return answer
    } finally {
      answer[Symbol.dispose]()
    }
  }

  async send(request: DockerRequest): Promise<DockerAnswer> {
    return await exchange(request, {
      agent: this.#agent,
      prefix: this.#version,
      name: this.name,
      timeouts: this.timeouts,
    })
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  /** @throws WindlassError STALLED if it comes to no end */
  async #readAll({ bytes }: DockerAnswer, doing: string): Promise<Buffer> {
    return await readAll(
      withIdle(bytes, this.timeouts.answerMs, ms => late(doing, ms)),
      doing,
    )
  }

  async #agree({ env, signal }: ClientOptions & { signal: AbortSignal }): Promise<void> {
    const doing = `Cannot reach ${this.name}`
    const answerMs = this.timeouts.connectMs
    using answer = await this.send({ path: '/_ping', signal, doing, answerMs })
    const { status, headers } = answer
    await this.#readAll(answer, doing)
    const version = String(headers['api-version'] ?? '')
    if (status !== 200 || !/^\d{1,3}\.\d{1,3}$/.test(version))
      throw new WindlassError(
        'ENGINE_UNREACHABLE',
        `${doing}: what answers there is no docker daemon (status ${status})`,
      )
    const wanted = env['DOCKER_API_VERSION'] || undefined
    const agreed = wanted ?? (compareVersions(version, apiMax) < 0 ? version : apiMax)
    if (!/^\d{1,3}\.\d{1,3}$/.test(agreed) || compareVersions(agreed, apiMin) < 0) {
      const state = wanted === undefined ? `it speaks API ${version}` : `DOCKER_API_VERSION is ${quote(wanted)}`
      throw new WindlassError('UNSUPPORTED', `Cannot use ${this.name}: ${state}; wanted ${apiMin} or newer`)
    }
    this.#version = `/v${agreed}`
  }

  async #connect(endpoint: DockerEndpoint, { env }: ClientOptions): Promise<Duplex> {
    if (endpoint.kind === 'ssh') return openCommandStream('ssh', sshArguments(endpoint), env)
    const socket = openSocket(endpoint)
    const { promise, resolve, reject } = Promise.withResolvers<Socket>()
    const isTls = endpoint.kind === 'tcp' && endpoint.tls !== undefined
    const late = () =>
      reject(Object.assign(new Error(`no connection within ${this.timeouts.connectMs} ms`), { code: 'ETIMEDOUT' }))
    const timer = setTimeout(late, this.timeouts.connectMs)
    socket.once(isTls ? 'secureConnect' : 'connect', () => resolve(socket))
    socket.once('error', reject)
    try {
      return await promise
    } catch (error) {
      socket.destroy()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Every connection is made by `open`; one that is idle is used again, since ssh takes long to log in. */
class EndpointAgent extends http.Agent {
  readonly #open: () => Promise<Duplex>

  constructor(open: () => Promise<Duplex>) {
    super({ keepAlive: true, maxSockets: 4 })
    this.#open = open
  }

  override createConnection(_options: unknown, done: (error: Error | null, stream?: Duplex) => void): undefined {
    this.#open().then(
      stream => done(null, stream),
      (error: Error) => done(error),
    )
  }
}

function openSocket(endpoint: Exclude<DockerEndpoint, { kind: 'ssh' }>): Socket {
  if (endpoint.kind === 'unix') return connectTcp({ path: endpoint.path })
  const { host, port, tls } = endpoint
  if (tls === undefined) return connectTcp({ host, port })
  const { ca, cert, key, verify } = tls satisfies TlsFiles
  return connectTls({
    host,
    port,
    rejectUnauthorized: verify,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  })
}

/** docker/cli, connhelper: the far docker client passes its stdin and stdout on to its daemon. */
function sshArguments({ host, user, port, path }: Extract<DockerEndpoint, { kind: 'ssh' }>): string[] {
  const login = user === undefined ? [] : ['-l', user]
  const toPort = port === undefined ? [] : ['-p', `${port}`]
  const daemon = path === undefined ? [] : ['--host', `unix://${path}`]
  const options = ['-o', 'ConnectTimeout=30', '-o', 'BatchMode=yes', '-T']
  return [...options, ...login, ...toPort, '--', host, 'docker', ...daemon, 'system', 'dial-stdio']
}

interface Exchange {
  readonly agent: http.Agent
  readonly prefix: string
  readonly name: string
  readonly timeouts: DockerTimeouts
}

/** One request: the body goes out while the answer may come in already, since a daemon that refuses says so at once. */
async function exchange(request: DockerRequest, { agent, prefix, name, timeouts }: Exchange): Promise<DockerAnswer> {
  const { method = 'GET', path, headers = {}, body, signal, doing } = request
  signal.throwIfAborted()
  const stop = new AbortController()
  const outgoing = http.request({
    method,
    path: `${prefix}${path}`,
    agent,
    headers: { host: 'docker', ...(method === 'POST' && body === undefined && { 'content-length': '0' }), ...headers },
    signal: AbortSignal.any([signal, stop.signal]),
  })
  const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve)
    outgoing.once('error', reject)
  })
  outgoing.on('error', () => {})
  answered.catch(() => {})
  try {
    const sent = body === undefined ? outgoing.end() : sendBody(outgoing, body, timeouts.uploadIdleMs, doing)
    // What the daemon says counts more than that it stopped reading.
    const first = await Promise.race([answered, Promise.resolve(sent).then(() => undefined)]).catch(async error => {
      if (signal.aborted || (isWindlassError(error) && error.code !== 'ENGINE_UNREACHABLE')) throw error
      return await within(answered, 1000, () => error)
    })
    const response = first ?? (await within(answered, request.answerMs ?? timeouts.answerMs, ms => late(doing, ms)))
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      bytes: explained(response, error => (signal.aborted ? signal.reason : asEngineError(error, doing, name))),
      [Symbol.dispose]: () => {
        if (!response.complete) stop.abort()
      },
    }
  } catch (error) {
    stop.abort()
    throw signal.aborted ? signal.reason : asEngineError(error, doing, name)
  }
}

/** A daemon that dies in the middle of an answer is one that cannot be reached any more. */
async function* explained(
  bytes: AsyncIterable<Uint8Array>,
  explain: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* bytes
  } catch (error) {
    throw explain(error)
  }
}

/** @throws WindlassError STALLED if the daemon takes nothing for that long; whatever the body throws */
async function sendBody(
  outgoing: http.ClientRequest,
  body: AsyncIterable<Uint8Array>,
  idleMs: number,
  doing: string,
): Promise<void> {
  for await (const chunk of body) {
    // The chunk may be used again by whoever made it as soon as the next one is asked for.
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    outgoing.write(chunk, error => (error ? reject(asEngineError(error, doing, 'docker')) : resolve()))
    await within(
      promise,
      idleMs,
      ms => new WindlassError('STALLED', `${doing}: docker takes nothing for ${ms / 1000} s`),
    )
  }
  outgoing.end()
}

/** The promise's value, or an error when it takes longer. */
async function within<T>(promise: Promise<T>, ms: number, toError: (ms: number) => unknown): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(toError(ms)), ms)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

function late(doing: string, ms: number): WindlassError {
  return new WindlassError('STALLED', `${doing}: no answer within ${ms / 1000} s`)
}

async function readAll(bytes: AsyncIterable<Uint8Array>, doing: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of bytes) {
    size += chunk.length
    if (size > answerBytesMax)
      throw new WindlassError('LIMIT_EXCEEDED', `${doing}: the answer has more than ${answerBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Docker says in `message` why it refuses. */
function checkStatus(status: number, body: Buffer, doing: string): void {
  if (status < 400) return
  let message = `status ${status}`
  try {
    message =
      readString(parseJsonObject(body, "docker's answer", answerBytesMax), 'message', "docker's answer") ?? message
  } catch {} // what is not from docker itself says nothing
  throw engineError(message, doing, status)
}

/** What docker said went wrong, in its own words. */
export function engineError(message: string, doing: string, status = 0): WindlassError {
  const text = message.replace(/\s+/g, ' ').trim().slice(0, 1000)
  const code = /no space left|disk quota exceeded/i.test(text)
    ? 'NO_SPACE'
    : status === 403 || status === 401
      ? 'DENIED'
      : 'FAILED'
  const facts = { engine: 'docker', ...(status > 0 && { status }) }
  const hint = code === 'NO_SPACE' ? { hint: engineSpaceHint } : {}
  return new WindlassError(code, `${doing}: docker says ${quote(text)}`, { facts, ...hint })
}

const unreachable: ReadonlySet<string> = new Set([
  'ENOENT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTDIR',
])

function asEngineError(error: unknown, doing: string, name: string): WindlassError {
  if (isWindlassError(error)) return error
  const { code = '' } = error as NodeJS.ErrnoException
  const { message: said } = error as Error
  const message = said === 'aborted' ? 'it broke off in the middle of its answer' : said
  if (code === 'EACCES' || code === 'EPERM')
    return new WindlassError('PERMISSION', `${doing}: this user may not use ${name}`, {
      cause: error,
      hint: 'run it as root, or as a member of the group docker',
    })
  if (/CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO/.test(code))
    return new WindlassError('TLS', `${doing}: ${message}`, { cause: error })
  const hint = unreachable.has(code)
    ? 'is the daemon running? DOCKER_HOST or a docker context says where it is'
    : undefined
  return new WindlassError('ENGINE_UNREACHABLE', `${doing}: ${message}`, { cause: error, ...(hint && { hint }) })
}

/** Below 0 if `a` is older. */
function compareVersions(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number)
  const [majorB = 0, minorB = 0] = b.split('.').map(Number)
  return majorA - majorB || minorA - minorB
}
