import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { isWindlassError, WindlassError } from '../../errors.ts'
import { StageMeter } from '../../flow/stage.ts'
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
const callMsDefault = 60_000
/** What is only cleaned up is not waited for where nobody answers, or the user wants to go: a lease and the next delivery see to it. */
const farewellMs = { cancelled: 5_000, silent: 1_000 }
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
  /** The path of its socket. */
  readonly socket: string
  /** Active while an answer is owed; counts the answers. Whoever watches puts in their own. */
  meter = new StageMeter('process', 'engine')
  readonly #client: Client
  readonly #metadata = new Metadata()
  readonly #callMs: number
  #lease: string | undefined
  #owed = 0
  #isSilent = false

  constructor({ socket, namespace, callMs = callMsDefault }: ContainerdAddress & { readonly callMs?: number }) {
    this.#callMs = callMs
    this.socket = socket
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

  get lease(): string | undefined {
    return this.#lease
  }

  /** Everything from here on belongs to the lease. */
  set lease(id: string) {
    this.#lease = id
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
      { deadline: Date.now() + this.#callMs },
      (error, answer) => (error !== null || answer === undefined ? reject(error) : resolve(answer)),
    )
    const cancel = () => call.cancel()
    signal.addEventListener('abort', cancel, { once: true })
    try {
      return await this.#owing(promise)
    } catch (error) {
      throw this.#explain(error, doing, signal)
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }

  /** A call that only cleans up, after whatever happened: what it cannot do is left. @param ms at most, where containerd answers */
  async leave<Request, Response>(
    method: Method<Request, Response>,
    message: Request,
    { signal, doing, ms }: CallContext & { readonly ms: number },
  ): Promise<void> {
    const patienceMs = this.#isSilent ? farewellMs.silent : signal.aborted ? farewellMs.cancelled : ms
    const bounds = AbortSignal.timeout(Math.min(ms, patienceMs))
    await this.call(method, message, { signal: bounds, doing }).catch(() => {
      this.#isSilent ||= bounds.aborted
    })
  }

  async #owing<T>(answer: Promise<T>): Promise<T> {
    this.#owed++
    this.meter.active = true
    try {
      return await answer
    } finally {
      this.#owed--
      this.meter.units++
      this.meter.active = this.#owed > 0
    }
  }

  #explain(error: unknown, doing: string, signal: AbortSignal): unknown {
    if (signal.aborted || (error as Partial<ServiceError>).code !== status.DEADLINE_EXCEEDED)
      return toError(error, doing, signal)
    this.#isSilent = true
    return silence(doing, this.#callMs, error)
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
    const answered = async <T>(answer: Promise<T>): Promise<T> => await this.#owing(answer)
    const late = () => {
      this.#isSilent = true
      return silence(doing, this.#callMs)
    }
    return new ContainerdStream(call, { signal, doing, answered, late, ms: this.#callMs })
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
    const answers = call[Symbol.asyncIterator]()
    let isLate = false
    try {
      while (true) {
        const timer = setTimeout(() => {
          isLate = true
          call.cancel()
        }, this.#callMs)
        const next = await this.#owing(answers.next()).finally(() => clearTimeout(timer))
        if (next.done) return
        yield next.value as Response
      }
    } catch (error) {
      throw isLate ? silence(doing, this.#callMs, error) : toError(error, doing, signal)
    } finally {
      signal.removeEventListener('abort', cancel)
      call.cancel()
    }
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }
}

interface StreamContext extends CallContext {
  /** Counts an answer that is owed. */
  readonly answered: <T>(answer: Promise<T>) => Promise<T>
  /** What is wrong when it has not come for `ms`. */
  readonly late: () => WindlassError
  readonly ms: number
}

/** One conversation: each message is answered by one. */
export class ContainerdStream<Request, Response> implements Disposable {
  readonly #call: ClientDuplexStream<Request, Response>
  readonly #context: StreamContext
  readonly #cancel = () => this.#call.cancel()
  readonly #answers: Response[] = []
  #failure: unknown
  #wake: (() => void) | undefined

  constructor(call: ClientDuplexStream<Request, Response>, context: StreamContext) {
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
    const { signal, doing, answered, late, ms } = this.#context
    signal.throwIfAborted()
    const sent = Promise.withResolvers<void>()
    this.#call.write(message, (error?: Error | null) => (error ? sent.reject(error) : sent.resolve()))
    sent.promise.catch(() => {})
    const tooLate = Promise.withResolvers<never>()
    const timer = setTimeout(() => tooLate.reject(late()), ms)
    try {
      const answer = this.#next()
      answer.catch(() => {})
      return await answered(Promise.race([answer, tooLate.promise]))
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

function silence(doing: string, ms: number, cause?: unknown): WindlassError {
  const facts = { engine: 'containerd', idleMs: ms }
  return new WindlassError('STALLED', `${doing}: containerd does not answer for ${ms / 1000} s`, { cause, facts })
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
