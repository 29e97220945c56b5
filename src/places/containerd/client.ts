import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { isWindlassError, WindlassError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import { type Method, methods } from './messages.ts'

export interface ContainerdAddress {
  /** The path of its socket. */
  readonly socket: string
  readonly namespace: string
}

/** The containerd that `ctr` would talk to. */
export function readContainerdAddress(env: Readonly<Record<string, string | undefined>>): ContainerdAddress {
  const socket = env['CONTAINERD_ADDRESS'] || '/run/containerd/containerd.sock'
  return { socket: socket.replace(/^unix:\/\//, ''), namespace: env['CONTAINERD_NAMESPACE'] || 'default' }
}

/** A call whose answer costs containerd no more than its database. A snapshotter may have to sync, so it is generous. */
const callMs = 60_000
/** What containerd itself takes as one message. */
const messageBytesMax = 16 * 1024 * 1024

export interface CallContext {
  readonly signal: AbortSignal
  /** What is being done, for messages: "Cannot write sha256:… into containerd". */
  readonly doing: string
}

/** containerd's gRPC API, in one namespace, and under one lease once there is one: what is made under it stays until the lease goes. */
export class ContainerdClient implements Disposable {
  readonly name: string
  readonly #client: Client
  readonly #metadata = new Metadata()

  constructor({ socket, namespace }: ContainerdAddress) {
    this.name = `containerd at ${socket}, namespace ${namespace}`
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.default_authority': 'localhost',
      'grpc.enable_retries': 0,
    })
    this.#metadata.set('containerd-namespace', namespace)
  }

  /** @throws WindlassError ENGINE_UNREACHABLE, PERMISSION */
  async readVersion(signal: AbortSignal): Promise<string> {
    const { version } = await this.call(methods.version, {}, { signal, doing: `Cannot reach ${this.name}` })
    return version
  }

  /** Everything from here on belongs to the lease. */
  set lease(id: string) {
    this.#metadata.set('containerd-lease', id)
  }

  /** @throws WindlassError NOT_FOUND, ENGINE_UNREACHABLE, NO_SPACE, STALLED, PERMISSION, FAILED with containerd's words */
  async call<Request, Response>(
    { path, request, response }: Method<Request, Response>,
    message: Request,
    { signal, doing }: CallContext,
  ): Promise<Response> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    const call = this.#client.makeUnaryRequest(
      path,
      request.encode,
      bytes => response.decode(bytes),
      message,
      this.#metadata,
      deadline(),
      (error, answer) =>
        error !== null || answer === undefined ? reject(toError(error, doing, signal)) : resolve(answer),
    )
    const cancel = () => call.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    return await promise.finally(() => signal.removeEventListener('abort', cancel))
  }

  /** The same, where what is asked for may not be there. */
  async find<Request, Response>(
    method: Method<Request, Response>,
    message: Request,
    context: CallContext,
  ): Promise<Response | undefined> {
    try {
      return await this.call(method, message, context)
    } catch (error) {
      if (isWindlassError(error, 'NOT_FOUND')) return undefined
      throw error
    }
  }

  /** Opens a stream in both directions; dispose cancels it. */
  openStream<Request, Response>(
    { path, request, response }: Method<Request, Response>,
    { signal, doing }: CallContext,
  ): ContainerdStream<Request, Response> {
    signal.throwIfAborted()
    const call = this.#client.makeBidiStreamRequest(
      path,
      request.encode,
      bytes => response.decode(bytes),
      this.#metadata,
    )
    return new ContainerdStream(call, { signal, doing })
  }

  /** A stream of answers to one request. */
  async *list<Request, Response>(
    { path, request, response }: Method<Request, Response>,
    message: Request,
    { signal, doing }: CallContext,
  ): AsyncGenerator<Response> {
    signal.throwIfAborted()
    const call = this.#client.makeServerStreamRequest(
      path,
      request.encode,
      bytes => response.decode(bytes),
      message,
      this.#metadata,
    )
    const cancel = () => call.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    try {
      for await (const answer of call) yield answer as Response
    } catch (error) {
      throw toError(error, doing, signal)
    } finally {
      signal.removeEventListener('abort', cancel)
      call.cancel()
    }
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }
}

/** One conversation: each message is answered by one. */
export class ContainerdStream<Request, Response> implements Disposable {
  readonly #call: ClientDuplexStream<Request, Response>
  readonly #context: CallContext
  readonly #cancel = () => this.#call.cancel()
  readonly #answers: Response[] = []
  #failure: unknown
  #wake: (() => void) | undefined

  constructor(call: ClientDuplexStream<Request, Response>, context: CallContext) {
    this.#call = call
    this.#context = context
    const tell = () => this.#wake?.()
    call.on('data', (answer: Response) => {
      this.#answers.push(answer)
      tell()
    })
    const fail = (error: unknown) => {
      this.#failure ??= error
      tell()
    }
    call.on('error', fail)
    call.on('end', () => fail(new Error('the stream has ended')))
    context.signal.addEventListener('abort', this.#cancel, { once: true })
  }

  /** Sends one message and waits for its answer. @throws WindlassError as `call` does */
  async ask(message: Request): Promise<Response> {
    const { signal, doing } = this.#context
    signal.throwIfAborted()
    const sent = Promise.withResolvers<void>()
    this.#call.write(message, (error?: Error | null) => (error ? sent.reject(error) : sent.resolve()))
    sent.promise.catch(() => {})
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => late.reject(new WindlassError('STALLED', `${doing}: containerd does not answer for ${callMs / 1000} s`)),
      callMs,
    )
    try {
      const answer = this.#next()
      answer.catch(() => {})
      return await Promise.race([answer, late.promise])
    } catch (error) {
      throw toError(error, doing, signal)
    } finally {
      clearTimeout(timer)
    }
  }

  [Symbol.dispose](): void {
    this.#context.signal.removeEventListener('abort', this.#cancel)
    this.#call.cancel()
  }

  async #next(): Promise<Response> {
    while (this.#answers.length === 0 && this.#failure === undefined) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    const answer = this.#answers.shift()
    if (answer === undefined) throw this.#failure
    return answer
  }
}

function deadline(): CallOptions {
  return { deadline: Date.now() + callMs }
}

/** containerd's words for what went wrong (google.rpc.Code). */
function toError(error: unknown, doing: string, signal: AbortSignal): unknown {
  if (isWindlassError(error)) return error
  if (signal.aborted) return signal.reason
  const { code, details, message } = (error ?? {}) as Partial<ServiceError>
  const text = (details ?? message ?? 'no answer').replace(/\s+/g, ' ').slice(0, 1000)
  const facts = { engine: 'containerd', grpc: code ?? -1 }
  const made = (kind: ConstructorParameters<typeof WindlassError>[0], hint?: string) =>
    new WindlassError(kind, `${doing}: containerd says ${quote(text)}`, { cause: error, facts, ...(hint && { hint }) })
  if (/no space left|disk quota exceeded/i.test(text)) return made('NO_SPACE')
  if (/EACCES|permission denied/i.test(text)) return made('PERMISSION', 'run it as root')
  if (code === status.UNAVAILABLE)
    return new WindlassError('ENGINE_UNREACHABLE', `${doing}: ${text}`, {
      cause: error,
      facts,
      hint: 'is containerd running? CONTAINERD_ADDRESS names its socket',
    })
  if (code === status.NOT_FOUND) return made('NOT_FOUND')
  if (code === status.DEADLINE_EXCEEDED) return made('STALLED')
  return made('FAILED')
}

/** True for what containerd refuses since somebody else is writing it. */
export function isLocked(error: unknown): boolean {
  if (!isWindlassError(error) || error.facts['grpc'] !== status.UNAVAILABLE) return false
  return /\bref \S+ locked\b/.test(error.message)
}

/** True for what containerd refuses since it is there already. */
export function isAlreadyExists(error: unknown): boolean {
  return isWindlassError(error) && error.facts['grpc'] === status.ALREADY_EXISTS
}
