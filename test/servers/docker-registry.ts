import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface DockerRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  readonly pid: number
  /** Everything it has logged, access log included, one line each. */
  readonly log: readonly string[]
}

export interface DockerRegistryOptions {
  /** Where the blobs lie; kept afterwards if given, else a temporary directory. */
  readonly storage?: string
  /** Whether it wants user `test` with password `secret`. */
  readonly password?: boolean
}

/** bcrypt of `secret`, cost 5. */
const htpasswdLine = 'test:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n'
const readyMs = 90_000

/** Starts the real `docker-registry` of the distribution on a free port of 127.0.0.1; disposing stops it and removes its files. */
export async function startDockerRegistry(options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'windlass-registry-'))
  const config = join(directory, 'config.yml')
  await writeFile(join(directory, 'htpasswd'), htpasswdLine)
  await writeFile(config, formatConfig(directory, options))
  const child = spawn('docker-registry', ['serve', config], {
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log: string[] = []
  const dispose = async () => {
    await stop(child)
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const host = await readHost(child, log)
    return { host, url: `http://${host}`, pid: child.pid ?? 0, log, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

function formatConfig(directory: string, { storage, password }: DockerRegistryOptions): string {
  const lines = [
    'version: 0.1',
    'log: {level: info}',
    'storage:',
    `  filesystem: {rootdirectory: ${JSON.stringify(storage ?? join(directory, 'storage'))}}`,
    '  delete: {enabled: true}',
    'http: {addr: "127.0.0.1:0"}',
  ]
  const auth = `auth: {htpasswd: {realm: test, path: ${JSON.stringify(join(directory, 'htpasswd'))}}}`
  return [...lines, ...(password === true ? [auth] : []), ''].join('\n')
}

/** The port is chosen by the kernel and stands in the log. */
async function readHost(child: ChildProcess, log: string[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const timer = setTimeout(() => reject(new Error(`docker-registry is not ready: ${log.join('\n')}`)), readyMs)
  child.once('error', reject)
  child.once('exit', code => reject(new Error(`docker-registry ended with ${code}: ${log.join('\n')}`)))
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue
    createInterface({ input: stream }).on('line', line => {
      log.push(line)
      const host = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1]
      if (host !== undefined) resolve(host)
    })
  }
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
