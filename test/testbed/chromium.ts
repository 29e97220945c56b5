/** A headless Chromium, driven by the DevTools protocol over a pipe: no port is open, and it ends with the pipe. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

const answerMs = 30_000

export interface PageOptions {
  readonly url: string
  readonly width: number
  readonly height?: number
  readonly scheme?: 'light' | 'dark'
  readonly media?: 'screen' | 'print'
}

export interface OpenPage {
  /** Every address that the page asked for, its own included. */
  readonly requests: readonly string[]
  /** What the console and the browser complained about. */
  readonly complaints: readonly string[]
  /** Evaluates an expression in the page; its value must survive JSON. */
  evaluate<Value>(expression: string): Promise<Value>
  /** The whole page as a PNG. */
  screenshot(): Promise<Buffer>
  /** All that a screen reader is told: role and name of each node. */
  readAccessibility(): Promise<{ role: string; name: string }[]>
}

type Params = Record<string, unknown>
interface Message {
  readonly id?: number
  readonly method?: string
  readonly sessionId?: string
  readonly params?: Params
  readonly result?: Params
  readonly error?: { readonly message: string }
}

/** Starts it with a profile of its own. */
export async function startChromium(): Promise<Chromium> {
  const profile = await mkdtemp(join(tmpdir(), 'windlass-chromium-'))
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-background-networking',
  ]
  const args = [
    ...flags,
    '--no-first-run',
    '--hide-scrollbars',
    `--user-data-dir=${profile}`,
    '--remote-debugging-pipe',
  ]
  const child = spawn('chromium', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true })
  await once(child, 'spawn')
  return new Chromium(child, profile)
}

export class Chromium implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #profile: string
  readonly #waiting = new Map<number, { resolve: (result: Params) => void; reject: (error: Error) => void }>()
  readonly #listeners = new Map<string, (message: Message) => void>()
  #id = 0
  #rest = ''

  constructor(child: ChildProcess, profile: string) {
    this.#child = child
    this.#profile = profile
    const output = child.stdio[4] as Readable
    output.setEncoding('utf8').on('data', (text: string) => this.#read(text))
  }

  /** Opens a page and waits until it is loaded. */
  async open({ url, width, height = 900, scheme = 'light', media = 'screen' }: PageOptions): Promise<OpenPage> {
    const { targetId } = await this.#send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = (await this.#send('Target.attachToTarget', { targetId, flatten: true })) as {
      sessionId: string
    }
    const requests: string[] = []
    const complaints: string[] = []
    const loaded = Promise.withResolvers<void>()
    this.#listeners.set(sessionId, ({ method, params = {} }) => {
      if (method === 'Network.requestWillBeSent') requests.push((params['request'] as { url: string }).url)
      if (method === 'Log.entryAdded' || method === 'Runtime.consoleAPICalled' || method === 'Runtime.exceptionThrown')
        complaints.push(JSON.stringify(params))
      if (method === 'Page.loadEventFired') loaded.resolve()
    })
    const send = (method: string, params: Params = {}) => this.#send(method, params, sessionId)
    for (const domain of ['Network', 'Log', 'Runtime', 'Page', 'Accessibility']) await send(`${domain}.enable`)
    await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false })
    await send('Emulation.setEmulatedMedia', { media, features: [{ name: 'prefers-color-scheme', value: scheme }] })
    await send('Page.navigate', { url })
    await loaded.promise
    return {
      requests,
      complaints,
      async evaluate<Value>(expression: string) {
        const { result } = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true })
        return (result as { value: Value }).value
      },
      async screenshot() {
        const { cssContentSize } = (await send('Page.getLayoutMetrics')) as { cssContentSize: { height: number } }
        const clip = { x: 0, y: 0, width, height: cssContentSize.height, scale: 1 }
        const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip })
        return Buffer.from(String(data), 'base64')
      },
      async readAccessibility() {
        const { nodes } = (await send('Accessibility.getFullAXTree')) as {
          nodes: { ignored: boolean; role?: { value: string }; name?: { value: string } }[]
        }
        return nodes
          .filter(({ ignored }) => !ignored)
          .map(({ role, name }) => ({ role: role?.value ?? '', name: name?.value ?? '' }))
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined
    process.kill(-(this.#child.pid as number), 'SIGKILL')
    await ended
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 })
  }

  #send(method: string, params: Params, sessionId?: string): Promise<Params> {
    const id = ++this.#id
    const { promise, resolve, reject } = Promise.withResolvers<Params>()
    const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), answerMs)
    this.#waiting.set(id, { resolve, reject })
    const input = this.#child.stdio[3] as Writable
    input.write(`${JSON.stringify({ id, method, params, ...(sessionId !== undefined && { sessionId }) })}\0`)
    return promise.finally(() => clearTimeout(timer))
  }

  #read(text: string): void {
    const parts = `${this.#rest}${text}`.split('\0')
    this.#rest = parts.pop() ?? ''
    for (const part of parts) this.#take(JSON.parse(part) as Message)
  }

  #take(message: Message): void {
    if (message.id === undefined) return this.#listeners.get(message.sessionId ?? '')?.(message)
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.error === undefined) waiting?.resolve(message.result ?? {})
    else waiting?.reject(new Error(message.error.message))
  }
}
